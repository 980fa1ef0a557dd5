"""A data set that comes divided, read as one: all rows to learn from, then all that its own split holds out.

It is for looking at data. Training keeps the two apart (`sides.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sightline.data.conversation import ChatRow, MissingPicture, RowError
from sightline.data.readers.opening import Data, open_data
from sightline.data.readers.own_split import own_split
from sightline.images import renamed

__all__ = ["Divided", "open_divided"]


class Divided:
    """Both sides of a data set, with the reading part of `Data`'s interface; rows of `held_out` come last."""

    def __init__(self, path: str, train: Data, held_out: Data):
        self.path, self.train, self.held_out = path, train, held_out

    @property
    def format(self) -> str:
        """How each side is understood, in words."""
        if self.train.format == self.held_out.format:
            return f"{self.train.format}, in {self.train.path} and {self.held_out.path}"
        return f"{self.train.format} in {self.train.path}; {self.held_out.format} in {self.held_out.path}"

    @property
    def is_streamed(self) -> bool:
        """No: streams come whole."""
        return False

    @property
    def is_in_order_only(self) -> bool:
        """No: which rows are held out is known, whatever order the sides are read in."""
        return False

    def __len__(self) -> int:
        return len(self.train) + len(self.held_out)

    def attempts(self) -> Iterator[tuple[str, ChatRow | RowError | MissingPicture]]:
        """As `Data.attempts`."""
        yield from self.train.attempts()
        yield from self.held_out.attempts()

    def where(self, index: int) -> str:
        """As `Data.where`, of one row."""
        start = len(self.train)
        return self.train.where(index) if index < start else self.held_out.where(index - start)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Divided:
        """As `Data.subset`."""
        chosen = np.asarray(indices, dtype=np.int64)
        first, second = chosen[chosen < len(self.train)], chosen[chosen >= len(self.train)]
        return Divided(self.path, self.train.subset(first), self.held_out.subset(second - len(self.train)))


def open_divided(path: str | os.PathLike[str], **options: Any) -> Data | Divided:
    """What lies at `path`, with its own held-out split where it has one (`own_split`); `options` are `open_data`'s.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `open_data`.
    """
    own = None if options.get("streaming") else own_split(path)
    if own is None:
        return open_data(path, **options)
    train = open_data(own[0], **options)
    try:
        held_out = open_data(own[1], **options)
    except (ValueError, FileNotFoundError) as error:
        raise renamed(
            error,
            f"{error} ({own[1]} is taken for what {own[0]} holds out: if it has no answers, move it to another folder; "
            f"`data check {own[0]} --held-out 0.1` leaves it alone)",
        ) from None
    return Divided(os.fspath(path), train, held_out)
