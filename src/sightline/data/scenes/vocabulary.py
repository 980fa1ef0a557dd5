"""All words that the world's pictures need, for a tokenizer to learn: names, places, colours, fixed phrasings.

It does not know pictures or tokens.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from sightline.data.scenes.atlas import noun_of
from sightline.data.scenes.holdout import is_held_out_shape, wordings
from sightline.data.scenes.language import COLOUR_WORDS, PLACES, SHAPE_WORDS, SIZE_WORDS, indefinite, plural, sentence
from sightline.data.scenes.panel_phrasings import PANEL_PHRASINGS
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.scene import COLOURS, SHAPES, Identity

__all__ = ["vocabulary", "word_splitter"]


def vocabulary(things: Sequence[str], language: str) -> Iterator[str]:
    """Every name in the singular and plural, every place and colour, and the phrasings without a field to fill, but for
    the coloured shapes and phrasings that training never sees."""
    identities: list[Identity] = [("thing", thing) for thing in things]
    identities += [
        ("shape", colour, shape) for colour in COLOURS for shape in SHAPES if not is_held_out_shape(colour, shape)
    ]
    for identity in identities:
        yield sentence(indefinite(identity, language), language)
        yield plural(identity, language)
    yield from COLOUR_WORDS[language].values()
    yield from (sentence(place, language) for row in PLACES[language] for place in row)
    # Phrasings with a field to fill appear, filled, in the conversations.
    for kind in (PHRASINGS | PANEL_PHRASINGS).values():
        yield from (text for text in wordings(kind[language], held_out=False) if "{" not in text)


def word_splitter(things: Sequence[str]) -> Callable[[str], list[str]]:
    """A function that cuts a text before and after every Chinese name, colour, shape, size and place.

    Chinese writes no spaces, and a tokenizer that learns from whole sentences makes tokens of a word and what stood
    beside it, so that one thing has many names.

    >>> word_splitter([])("一个黄色的大正方形。")
    ['一个', '黄色', '的', '大', '正方形', '。']
    """
    words = [noun_of(thing).zh for thing in things]
    words += [*COLOUR_WORDS["zh"].values(), *SHAPE_WORDS["zh"].values(), *SIZE_WORDS["zh"].values()]
    words += [place for row in PLACES["zh"] for place in row]
    either = re.compile("(" + "|".join(sorted(words, key=len, reverse=True)) + ")")
    return lambda text: [piece for piece in either.split(text) if piece]
