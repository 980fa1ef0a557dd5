"""The most frequent of many texts, in bounded memory: `Tops`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Tops"]

Thing = TypeVar("Thing", bound=Hashable)


class Tops(Generic[Thing]):
    """Counts things; where more than `most` different ones come, the rarest are forgotten (lossy counting; Manku and
    Motwani, 2002), and counts may be a little too low."""

    def __init__(self, most: int = 100_000):
        self.most, self.counts, self.exact = most, Counter[Thing](), True
        self.total = 0  # of all that came, what is forgotten too
        self._floor = 0

    def add(self, thing: Thing) -> None:
        self.counts[thing] += 1
        self.total += 1
        if len(self.counts) > self.most:
            self.exact = False
            # Until half of the room is free, or each new thing would mean a search.
            while len(self.counts) > self.most // 2:
                self._floor += 1
                self.counts = Counter({one: count for one, count in self.counts.items() if count > self._floor})

    def first(self, count: int) -> list[tuple[Thing, int]]:
        """The most frequent, with how often they came; of equals, the one that came first."""
        return self.counts.most_common(count)
