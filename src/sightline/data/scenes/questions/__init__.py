"""The kinds of question: each a pure function from a picture to a question and its one right answer.

A kind gives nothing when its question would be ambiguous or pointless for the picture: `where` needs an object
that its name picks out. Answers have one form a kind and language, however the question is put, so an exact match
is a fair test. This package does not know pixels.
"""

from sightline.data.scenes.atlas import check_name
from sightline.data.scenes.language import LANGUAGES
from sightline.data.scenes.panels import PANEL_KINDS, PANELS, Panel
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer, Turn
from sightline.data.scenes.questions.attributes import ATTRIBUTES
from sightline.data.scenes.questions.comparing import COMPARING
from sightline.data.scenes.questions.counting import COUNTING
from sightline.data.scenes.questions.dialogue import DIALOGUES
from sightline.data.scenes.questions.naming import NAMING
from sightline.data.scenes.questions.pairs import PAIRS
from sightline.data.scenes.questions.relations import RELATING
from sightline.data.scenes.scene import Pair, Scene

__all__ = ["KINDS", "Asking", "Kind", "Turn", "ask"]


def _panel_kind(kind: str) -> Kind:
    asked = {layout: PANELS[layout].kinds[kind] for layout in PANEL_KINDS[kind]}

    def ask_panel(panel: Panel, asking: Asking) -> QuestionAnswer:
        return asked[panel.layout](panel, asking.rng, asking.language, asking.axis == "phrasing")

    return Kind(ask_panel, PANEL_KINDS[kind], axes=("font", "word", "phrasing"))


KINDS: dict[str, Kind] = NAMING | ATTRIBUTES | COUNTING | RELATING | COMPARING | PAIRS | DIALOGUES
KINDS |= {kind: _panel_kind(kind) for kind in PANEL_KINDS}


def ask(kind: str, picture: Scene | Pair | Panel, asking: Asking) -> list[Turn]:
    """One question of a kind about the picture and its answer, or the turns of a dialogue; none where it does not fit.

    Raises:
        ValueError: for an unknown kind or language.
    """
    check_name("language", asking.language, LANGUAGES)
    found = KINDS[check_name("kind", kind, KINDS)].ask(picture, asking)
    if not found:
        return []
    return found if isinstance(found, list) else [found]
