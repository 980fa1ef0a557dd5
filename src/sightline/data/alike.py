"""Pictures that look alike, though their pixels differ: another size, another format, a little cropped.

It compares what `look_at` has found, and opens no picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sightline.data.pictures import SIDE, Look

__all__ = ["APART", "NEIGHBOURS", "Likeness", "count_alike", "look_alikes"]

APART = 4  # bits of 64 in which the hashes of pictures that look alike may differ
SHADES = 12  # of 255, by which their small copies' colours may
NEIGHBOURS = 64  # with which a picture is compared in a crowd of the same beginning


class Likeness(NamedTuple):
    """What is kept of a look to compare it by: perceptual hash, and colours of a small copy."""

    hash: int
    colours: bytes

    @classmethod
    def of(cls, look: Look) -> Likeness:
        return cls(look.hash, look.colours)


def count_alike(pictures: Iterable[Likeness], others: Iterable[Likeness]) -> int:
    """How many of `pictures` look like one of `others`."""
    others = list(others)
    found = look_alikes([*others, *pictures])[len(others) :]
    return int(((found >= 0) & (found < len(others))).sum())


def look_alikes(pictures: Iterable[Likeness]) -> np.ndarray:
    """For each picture the first that looks like it, int64 [pictures]; -1 where none before it does.

    Two hashes that differ in at most `APART` bits agree in one of `APART` + 1 stretches of them: only pictures that do
    are compared, and of a larger crowd, each with the `NEIGHBOURS` whose hashes are next to its own.
    """
    hashes, colours = _columns(list(pictures))
    count = len(hashes)
    earliest = np.full(count, count, dtype=np.int64)
    edges = np.linspace(0, 64, APART + 2).astype(int)
    for low, high in itertools.pairwise(edges):
        stretch = (hashes >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.lexsort((hashes, stretch))
        for offset in range(1, min(NEIGHBOURS + 1, count)):
            near = stretch[order[offset:]] == stretch[order[:-offset]]
            if not near.any():
                break
            _note(order[offset:][near], order[:-offset][near], hashes, colours, earliest)
    return np.where(earliest < count, earliest, -1)


def _columns(pictures: list[Likeness]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes, uint64 [pictures], and colours, uint8 [pictures, 3 x SIDE x SIDE]."""
    colours = np.frombuffer(b"".join(one.colours for one in pictures), dtype=np.uint8)
    return np.array([one.hash for one in pictures], dtype=np.uint64), colours.reshape(-1, 3 * SIDE * SIDE)


def _note(one: np.ndarray, other: np.ndarray, hashes: np.ndarray, colours: np.ndarray, earliest: np.ndarray) -> None:
    alike = np.bitwise_count(hashes[one] ^ hashes[other]) <= APART
    one, other = one[alike], other[alike]
    apart = np.abs(colours[one].astype(np.int16) - colours[other].astype(np.int16)).max(axis=1, initial=0)
    one, other = one[apart <= SHADES], other[apart <= SHADES]
    np.minimum.at(earliest, np.maximum(one, other), np.minimum(one, other))
