"""How each kind of question about objects is put, in English and Chinese: the wording varies, the answer does not.

Tables only, one file a family of kinds. A key is a kind, or kind/variant where a kind is asked in different ways.
The last wording of each list is kept for testing. Fields: {a} an object with an indefinite article, {the} with a
definite one, {name} bare, {plural}, {measure} the Chinese measure word, {place}, {relation}, {other} a second
object with its article, {colour}, {first} and {second} two choices in either order, {ordinal} which picture.
"""

from sightline.data.scenes.phrasings.comparing import COMPARING
from sightline.data.scenes.phrasings.counting import COUNTING
from sightline.data.scenes.phrasings.dialogue import DIALOGUE
from sightline.data.scenes.phrasings.naming import NAMING
from sightline.data.scenes.phrasings.pairs import PAIRS
from sightline.data.scenes.phrasings.relations import RELATING

__all__ = ["PHRASINGS"]

PHRASINGS: dict[str, dict[str, list[str]]] = NAMING | COUNTING | RELATING | COMPARING | PAIRS | DIALOGUE
