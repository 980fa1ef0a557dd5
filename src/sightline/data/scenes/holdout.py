"""What training never sees, so that a test can ask whether a model has learned or remembered.

Every choice is a hash of names: it is the same for every seed, on every machine, and adding a thing to the atlas
changes none of the others. This file does not know how scenes are made or asked about.
"""

import hashlib
from collections.abc import Iterable
from functools import cache, lru_cache

from sightline.data.scenes.scene import CELLS, COLOURS, Identity, Place

__all__ = ["AXES", "counts_of", "is_held_out_count", "is_held_out_place", "is_held_out_shape", "wordings"]

# What is unseen in a test. In all of them the pictures are.
AXES = ("seen", "combination", "count", "font", "word", "phrasing", "artist")

COUNT_SHARE = 0.1  # of the counts of each thing or shape
FEWEST_PHRASINGS = 4  # a kind with fewer keeps them all for training


def _number(*names: object) -> int:
    return int.from_bytes(hashlib.sha256(":".join(map(str, names)).encode()).digest()[:8], "big")


@cache
def _unseen_colour(shape: str) -> str:
    return min(COLOURS, key=lambda colour: _number("colour", shape, colour))


@cache
def _unseen_place(thing: str) -> Place:
    return min(CELLS, key=lambda cell: _number("place", thing, *cell))


def is_held_out_shape(colour: str, shape: str) -> bool:
    """Whether training never sees the shape in this colour: one colour of each shape."""
    return _unseen_colour(shape) == colour


def is_held_out_place(thing: str, place: Place) -> bool:
    """Whether training never sees the thing at this place: one of the nine."""
    return _unseen_place(thing) == place


@lru_cache(maxsize=65536)
def is_held_out_count(asked: Identity, count: int) -> bool:
    """Whether training never sees that many of a thing, a coloured shape, a shape or a colour: one count in ten."""
    return count >= 2 and _number("count", *asked, count) < COUNT_SHARE * 2**64


def counts_of(identities: Iterable[Identity]) -> dict[Identity, int]:
    """How many there are of each thing, coloured shape, shape of any colour and colour of any shape."""
    counts: dict[Identity, int] = {}
    for identity in identities:
        names = [identity]
        if identity[0] == "shape":
            names += [("shape", "", identity[2]), ("shape", identity[1], "")]
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return counts


def wordings(phrasings: list[str], held_out: bool) -> list[str]:
    """The phrasings of a question that training sees, or the one that it does not; none if too few."""
    if len(phrasings) < FEWEST_PHRASINGS:
        return [] if held_out else phrasings
    return phrasings[-1:] if held_out else phrasings[:-1]
