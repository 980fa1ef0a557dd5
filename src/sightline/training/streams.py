"""Rows that can be read in their order only: a streamed dataset, or compressed shards.

They are shuffled within blocks. What stands at a place is a function of the place, as of files: to go back, or on after
a break, the rows are read again from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from sightline.data.conversation import ChatRow
from sightline.data.readers import Data
from sightline.data.sample import Sample, sample_of

__all__ = ["BLOCK_ROWS", "StreamGroups"]

BLOCK_ROWS = 256  # which are in memory, pictures and all


class StreamGroups:
    """The rows of `rows`, each a group of its own, from the beginning again when they end.

    Raises:
        ValueError, FileNotFoundError: as a row of `Data`, when it is asked for; or there are no rows.
    """

    barred: frozenset[bytes] = frozenset()

    def __init__(self, rows: Data, seed: int):
        self.rows, self.seed = rows, seed
        self._length: int | None = None  # known when the end has been seen
        self._reading: Iterator[ChatRow | Exception] | None = None
        self._held: list[ChatRow | Exception] = []
        self._at = -1  # the block that is held

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reading": None, "_held": [], "_at": -1}  # each process reads for itself

    def group(self, number: int) -> list[Sample]:
        row = self._row(number)
        if isinstance(row, Exception):
            raise row
        return [sample_of(row)]

    def origin(self, number: int) -> str:
        row = self._row(number)
        return row.where if isinstance(row, ChatRow) else self.rows.path

    def _row(self, number: int) -> ChatRow | Exception:
        epoch, place = divmod(number, self._length) if self._length else (0, number)
        block, within = divmod(place, BLOCK_ROWS)
        held = self._block(block)
        if self._length is not None and number >= self._length and not epoch:
            return self._row(number)  # the end has just been seen: it stands in a later epoch
        order = np.random.default_rng((self.seed, epoch, block)).permutation(len(held))
        return held[order[within]]

    def _block(self, block: int) -> list[ChatRow | Exception]:
        """The rows of a block; what is left of them where they end before it, and then `_length` is known."""
        if self._reading is None or block < self._at:
            self._begin()
        while self._at < block:
            self._held, before = self._next(), self._at + 1
            if len(self._held) < BLOCK_ROWS:
                self._length = before * BLOCK_ROWS + len(self._held)
                if not self._length:
                    raise ValueError(f"{self.rows.path} holds no rows")
                if not self._held or before < block:
                    self._begin()
                    return []
            self._at = before
        return self._held

    def _next(self) -> list[ChatRow | Exception]:
        assert self._reading is not None
        try:
            return list(islice(self._reading, BLOCK_ROWS))
        except Exception:
            self._reading = None  # what is damaged has not ended, and is so when it is read again
            raise

    def _begin(self) -> None:
        self._reading, self._held, self._at = (row for _, row in self.rows.attempts()), [], -1
