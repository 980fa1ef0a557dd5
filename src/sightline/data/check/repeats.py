"""What rows have to do with each other: which are there twice or contradict each other, which pictures look alike.

Of each row and each picture a few bytes are kept, and all are compared at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sightline.data.alike import Likeness, look_alikes
from sightline.data.check.examine import Examined
from sightline.data.readers.splits import KEPT

__all__ = ["Repeats", "Twin"]


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
        self.looks: dict[bytes, Likeness] = {}  # of each different picture, by its key
        self._shown_in: list[int] = []  # the row in which it was first

    def add(self, row: int, examined: Examined) -> None:
        if not examined.identity:
            return
        self._rows.append(row)
        self._identities += examined.identity
        self._questions += examined.question
        for look in examined.looks:
            if (key := look.key[:KEPT]) not in self.looks:
                self.looks[key] = Likeness.of(look)
                self._shown_in.append(row)

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
        earlier = look_alikes(self.looks.values())
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
