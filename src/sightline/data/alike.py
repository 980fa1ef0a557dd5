"""Pictures that look alike, though their pixels differ: another size, another format, a little cropped.

It compares what `look_at` has found, and opens no picture.
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["APART", "NEIGHBOURS", "count_alike", "look_alikes"]

APART = 4  # bits of 64 in which the hashes of pictures that look alike may differ
SHADES = 12  # of 255, by which their small copies' colours may
NEIGHBOURS = 64  # with which a picture is compared in a crowd of the same beginning


def count_alike(hashes: np.ndarray, colours: np.ndarray, chosen: np.ndarray) -> int:
    """How many of the pictures that are `chosen`, bool [pictures], look like one that is not; else as `look_alikes`."""
    order = np.argsort(chosen, kind="stable")  # what comes earlier is then what was not chosen
    found = look_alikes(hashes[order], colours[order])
    others = int((~chosen).sum())
    return int(((found[others:] >= 0) & (found[others:] < others)).sum())


def look_alikes(hashes: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """For each picture the first that looks like it, int64 [pictures]; -1 where none before it does.

    Two hashes that differ in at most `APART` bits agree in one of `APART` + 1 stretches of them: only pictures that do
    are compared, and of a larger crowd, each with the `NEIGHBOURS` whose hashes are next to its own.

    Args:
        hashes: uint64 [pictures], perceptual hashes.
        colours: uint8 [pictures, values], of small copies.
    """
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


def _note(one: np.ndarray, other: np.ndarray, hashes: np.ndarray, colours: np.ndarray, earliest: np.ndarray) -> None:
    alike = np.bitwise_count(hashes[one] ^ hashes[other]) <= APART
    one, other = one[alike], other[alike]
    apart = np.abs(colours[one].astype(np.int16) - colours[other].astype(np.int16)).max(axis=1, initial=0)
    one, other = one[apart <= SHADES], other[apart <= SHADES]
    np.minimum.at(earliest, np.maximum(one, other), np.minimum(one, other))
