"""What rows show, once their pictures were opened: their keys, and which pictures of two sides look alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sightline.data.alike import Likeness, count_alike
from sightline.data.conversation import ChatRow
from sightline.data.readers.splits import KEPT, looked_at

__all__ = ["Count", "Shown", "shown_by"]


class Count(NamedTuple):
    """Rows, the different pictures that they show, and how many of them show none."""

    rows: int
    pictures: int
    texts: int

    def __str__(self) -> str:
        words = [f"{self.rows:,} rows"]
        if self.pictures:
            words.append(f"{self.pictures:,} pictures")
        if self.texts:
            words.append(f"{self.texts:,} of the rows without one")
        return ", ".join(words)


@dataclass(frozen=True, eq=False)
class Shown:
    """What rows show: each one's keys, and by key what those that are a picture's look like."""

    keys: Sequence[Sequence[bytes]]
    looks: Mapping[bytes, Likeness]

    def of(self, side: np.ndarray) -> Shown:
        """That of the rows where `side`, bool [rows], is true."""
        keys = [self.keys[row] for row in np.flatnonzero(side).tolist()]
        return Shown(keys, {key: self.looks[key] for row in keys for key in row if key in self.looks})

    @cached_property
    def all_keys(self) -> frozenset[bytes]:
        return frozenset(key for row in self.keys for key in row)

    def counted(self) -> Count:
        texts = sum(row[0] not in self.looks for row in self.keys)
        return Count(len(self.keys), len(self.looks), texts)

    def near_copies_of(self, others: Shown) -> int:
        """How many of its pictures look like one of `others`, though their pixels differ."""
        return count_alike(self.looks.values(), others.looks.values())


def shown_by(rows: Iterable[ChatRow], on_row: Callable[[], None]) -> Shown:
    """What rows show; `on_row` hears of each. Raises as `looked_at`."""
    all_keys: list[list[bytes]] = []
    looks: dict[bytes, Likeness] = {}
    for row_keys, row_looks in looked_at(rows, on_row):
        all_keys.append([key[:KEPT] for key in row_keys])
        for look in row_looks:
            looks.setdefault(look.key[:KEPT], Likeness.of(look))
    return Shown(all_keys, looks)
