"""All words that the world's pictures need, for a tokenizer to learn: names, places, colours, fixed phrasings.

It does not know pictures or tokens.
"""

from collections.abc import Iterator, Sequence

from sightline.data.scenes.language import COLOUR_WORDS, PLACES, indefinite, plural, sentence
from sightline.data.scenes.panel_phrasings import PANEL_PHRASINGS
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.scene import COLOURS, SHAPES, Identity

__all__ = ["vocabulary"]


def vocabulary(things: Sequence[str], language: str) -> Iterator[str]:
    """Every name in the singular and plural, every place and colour, and the phrasings without a field to fill."""
    identities: list[Identity] = [("thing", thing) for thing in things]
    identities += [("shape", colour, shape) for colour in COLOURS for shape in SHAPES]
    for identity in identities:
        yield sentence(indefinite(identity, language), language)
        yield plural(identity, language)
    yield from COLOUR_WORDS[language].values()
    yield from (sentence(place, language) for row in PLACES[language] for place in row)
    # Phrasings with a field to fill appear, filled, in the conversations.
    for kind in (PHRASINGS | PANEL_PHRASINGS).values():
        yield from (text for text in kind[language] if "{" not in text)
