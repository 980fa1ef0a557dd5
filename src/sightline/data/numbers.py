"""Many numbers in little memory, and what they say: `Numbers` and its `Bin`s. It knows not what is counted."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Bin", "Numbers"]

FAR = 3  # times the number that 99 % are not above, from where on the others share a bin


class Bin(NamedTuple):
    """How many numbers (`held`) are from `low` to `high`, both included."""

    low: int
    high: int
    held: int


class Numbers:
    """Whole numbers, four bytes each."""

    def __init__(self, numbers: Iterable[int] = ()):
        self._held = array("i", numbers)

    def add(self, *numbers: int) -> None:
        self._held.extend(numbers)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[int]:
        return iter(self._held)

    @property
    def total(self) -> int:
        return int(self._array().sum(dtype=np.int64))

    def quantile(self, share: float) -> int:
        """The least number that `share` of all are not above; of none, 0.

        >>> Numbers([5, 1, 3, 9]).quantile(0.5)
        3
        """
        if not self._held:
            return 0
        place = max(0, math.ceil(share * len(self)) - 1)
        return int(np.partition(self._array(), place)[place])

    def as_dict(self) -> dict[str, int]:
        return {
            "total": self.total,
            "least": self.quantile(0),
            "median": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "most": self.quantile(1),
        }

    def bins(self, about: int = 16) -> list[Bin]:
        """Bins of one width, a round one, from the least number to the greatest.

        Where a hundredth of the numbers lies far above the others, the last bin holds all of that.

        >>> Numbers([1, 2, 2, 9]).bins(about=3)
        [Bin(low=0, high=4, held=3), Bin(low=5, high=9, held=1)]
        """
        if not self._held:
            return []
        numbers = self._array()
        least, usual, most = int(numbers.min()), self.quantile(0.99), int(numbers.max())
        top = usual if most > FAR * usual else most
        width = _round_width((top - least + 1) / about)
        first = least // width * width
        counts = np.bincount((np.minimum(numbers, top) - first) // width)
        bins = [Bin(first + n * width, first + (n + 1) * width - 1, int(count)) for n, count in enumerate(counts)]
        return bins if top == most else [*bins[:-1], bins[-1]._replace(high=most)]

    def _array(self) -> np.ndarray:
        return np.array(self._held, dtype=np.int64)


def _round_width(least: float) -> int:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10 ** max(0, math.floor(math.log10(max(least, 1))))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
