"""What rows have to do with each other: which are there twice or contradict each other, which pictures look alike.

Of each row and each picture a few bytes are kept, and all are compared at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sightline.data.check.examine import Examined
from sightline.data.pictures import SIDE, Look
from sightline.data.readers.splits import KEPT

__all__ = ["Repeats", "Twin", "look_alikes"]

APART = 4  # bits of 64 in which the hashes of pictures that look alike may differ
SHADES = 12  # of 255, by which their small copies' colours may
NEIGHBOURS = 64  # with which a picture is compared in a crowd of the same beginning


class Twin(NamedTuple):
    """A row, and an earlier one that it repeats, contradicts, or whose picture its own looks like."""

    kind: str
    row: int
    earlier: int


class Repeats:
    """Takes rows one by one, and finds `twins` when all are there."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._identities, self._questions = bytearray(), bytearray()
        self._known: set[bytes] = set()
        self._shown_in: list[int] = []  # the row in which a picture was first
        self._hashes: list[int] = []
        self._colours = bytearray()

    def add(self, row: int, examined: Examined) -> None:
        if not examined.identity:
            return
        self._rows.append(row)
        self._identities += examined.identity
        self._questions += examined.question
        for look in examined.looks:
            self._add_picture(row, look)

    def _add_picture(self, row: int, look: Look) -> None:
        key = look.key[:KEPT]
        if key not in self._known:
            self._known.add(key)
            self._shown_in.append(row)
            self._hashes.append(look.hash)
            self._colours += look.colours

    @property
    def pictures(self) -> int:
        """How many different ones there are."""
        return len(self._known)

    def twins(self) -> Iterator[Twin]:
        rows = np.array(self._rows, dtype=np.int64)
        identities, questions = _firsts(self._identities), _firsts(self._questions)
        for kind, twins in (
            ("repeated row", identities != np.arange(len(rows))),
            # What repeats a row contradicts only what that one does.
            ("contradiction", (questions != np.arange(len(rows))) & (identities == np.arange(len(rows)))),
        ):
            firsts = identities if kind == "repeated row" else questions
            for row in np.flatnonzero(twins):
                yield Twin(kind, int(rows[row]), int(rows[firsts[row]]))
        colours = np.frombuffer(bytes(self._colours), dtype=np.uint8).reshape(-1, 3 * SIDE * SIDE)
        earlier = look_alikes(np.array(self._hashes, dtype=np.uint64), colours)
        for picture in np.flatnonzero(earlier >= 0):
            yield Twin("near copy", self._shown_in[picture], self._shown_in[earlier[picture]])


def _firsts(digests: bytearray) -> np.ndarray:
    """For each digest of 16 bytes, the place of the first that is equal, int64 [digests]."""
    held = np.frombuffer(bytes(digests), dtype="V16")
    if not len(held):
        return np.empty(0, dtype=np.int64)
    # As two numbers, since raw bytes have no order.
    pairs = held.view(np.uint64).reshape(-1, 2)
    _, first, inverse = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


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
