"""The two sides of a user's data: the rows that a model learns from, and those that it is judged by: `open_sides`.

A data set's own validation or test split is the second side where there is one; else a share of the pictures is, with
all that is asked about them. It knows rows and pictures, not what is done with them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from sightline.data.conversation import ChatRow
from sightline.data.readers.opening import Data, open_data
from sightline.data.readers.own_split import own_split
from sightline.data.readers.splits import KEPT, held_out_rows, row_keys

__all__ = ["AUTO_SHARE", "LEAST", "Count", "Share", "Sides", "open_sides"]

AUTO_SHARE = 0.1
LEAST = 20  # pictures: an interval from fewer says next to nothing
MOST = 20_000  # rows whose pictures are opened unasked, which takes a minute or two

Share: TypeAlias = float | Literal["auto"]


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
class Sides:
    """Rows to learn from and rows held out (None: there are none), and how they were told apart, in words.

    The counts are None where pictures were not opened.
    """

    train: Data
    held_out: Data | None
    how: str
    train_count: Count | None = None
    held_out_count: Count | None = None

    def __str__(self) -> str:
        if self.held_out is None:
            return f"{self.train.path}: {_rows(self.train)}; {self.how}"
        train, held = self.train_count or _rows(self.train), self.held_out_count or _rows(self.held_out)
        return f"{self.train.path}: {train} to learn from; {held} held out: {self.how}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        held = 0 if self.held_out is None else len(self.held_out)
        counts = {"train_rows": None if self.train.is_streamed else len(self.train), "held_out_rows": held}
        for name, count in (("train", self.train_count), ("held_out", self.held_out_count)):
            if count is not None:
                counts |= {f"{name}_pictures": count.pictures, f"{name}_rows_without_picture": count.texts}
        return {"path": self.train.path, **counts, "how": self.how}

    def fingerprint(self) -> str:
        """Changes with the rows and with which of them are held out."""
        if self.held_out is None:
            return self.train.fingerprint()
        parts = [part for side in (self.train, self.held_out) for part in (side.fingerprint(), side.digest_of_subset())]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def open_sides(
    path: str | os.PathLike[str],
    share: Share = "auto",
    validation: str | os.PathLike[str] | None = None,
    on_row: Callable[[], None] = lambda: None,
    **options: Any,
) -> Sides:
    """Both sides of what lies at `path`, which is read as `open_data` reads it with `options`.

    Args:
        share: of the pictures, that is held out; 0: none. "auto": the data set's own split (`own_split`) if it has
            one; else `AUTO_SHARE`, but at least `LEAST` pictures and at most a third, and nothing of more than `MOST`
            rows, whose pictures it would take long to open.
        validation: the rows to hold out, instead of a share.
        on_row: hears of each row that is read to divide them.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `open_data`; or a given share leaves one side empty, or all rows
            of `validation` show pictures that are learned from.
    """
    streamed = bool(options.get("streaming"))
    own = own_split(path) if share == "auto" and validation is None and not streamed else None
    if own is not None:
        return _two_places(open_data(own[0], **options), open_data(own[1], **options), on_row)
    rows = open_data(path, **options)
    if validation is not None:
        # What is asked again and again is kept, even where the other side is a stream.
        return _two_places(rows, open_data(validation, **options | {"streaming": False}), on_row)
    if rows.is_in_order_only:
        if share not in ("auto", 0):
            raise ValueError(f"of {rows.path}, a stream, no share can be held out: give validation instead of held_out")
        return Sides(rows, None, "of a stream none is held out: give validation")
    if share == 0:
        return Sides(rows, None, "none is held out, as the recipe says")
    if share == "auto" and len(rows) > MOST:
        return Sides(rows, None, f"of more than {MOST:,} rows none is held out unless `held_out` says how many")
    return _divided(rows, share, on_row)


def _rows(data: Data) -> str:
    return "a stream of rows" if data.is_streamed else f"{len(data):,} rows"


def _divided(rows: Data, share: Share, on_row: Callable[[], None]) -> Sides:
    keys, bare = _keys(rows, on_row)
    chosen = held_out_rows(keys, AUTO_SHARE, LEAST) if share == "auto" else held_out_rows(keys, share)
    if chosen.all() or not chosen.any():
        if share == "auto":
            return Sides(rows, None, "these are too few pictures to hold some out")
        what = "all" if chosen.all() else "none"
        raise ValueError(
            f"{what} of the {len(rows)} rows of {rows.path} would be held out at held_out={share:g}: take another share"
        )
    counts = [_count(keys, bare, side) for side in (~chosen, chosen)]
    how = f"{share:.0%} of the pictures" if share != "auto" else f"{AUTO_SHARE:.0%} of the pictures, at least {LEAST}"
    sides = [rows.subset(np.flatnonzero(side)) for side in (~chosen, chosen)]
    return Sides(sides[0], sides[1], f"{how}, known by their pixels", *counts)


def _two_places(train: Data, held_out: Data, on_row: Callable[[], None]) -> Sides:
    """Sides that lie apart; what is held out is less the rows that show a picture of the other side."""
    how = f"the split {held_out.path} of its own"
    if train.is_streamed or max(len(train), len(held_out)) > MOST:
        return Sides(train, held_out, f"{how}, not searched for pictures that are learned from")
    keys, bare = _keys(train, on_row)
    known = {key for row in keys for key in row}
    held_keys, held_bare = _keys(held_out, on_row)
    fresh = np.array([known.isdisjoint(row) for row in held_keys], dtype=bool)
    if not fresh.any():
        raise ValueError(
            f"all {len(held_out)} rows of {held_out.path} show pictures that {train.path} shows too: take another "
            "split, or a share by held_out"
        )
    if dropped := int((~fresh).sum()):
        how += f", less {dropped:,} rows that show (or ask) what is learned from"
    counts = _count(keys, bare, np.ones(len(keys), dtype=bool)), _count(held_keys, held_bare, fresh)
    return Sides(train, held_out.subset(np.flatnonzero(fresh)), how, *counts)


def _keys(rows: Data, on_row: Callable[[], None]) -> tuple[list[list[bytes]], np.ndarray]:
    """Each row's keys, and which rows show no picture, bool [rows]."""
    bare: list[bool] = []

    def noted() -> Iterator[ChatRow]:
        for row in rows:
            bare.append(not row.images)
            yield row

    keys = [[key[:KEPT] for key in row] for row in row_keys(noted(), on_row)]
    return keys, np.array(bare, dtype=bool)


def _count(keys: list[list[bytes]], bare: np.ndarray, side: np.ndarray) -> Count:
    chosen = np.flatnonzero(side & ~bare).tolist()
    pictures = {key for row in chosen for key in keys[row]}
    return Count(int(side.sum()), len(pictures), int((side & bare).sum()))
