"""The two sides of a user's data: the rows that a model learns from, and those that it is judged by: `open_sides`.

A data set's own validation or test split is the second side where there is one; else a share of the pictures is, with
all that is asked about them. It knows rows and pictures, not what is done with them.

Of each row that is held out the pictures are known. Of those that are learned from they are where opening them does not
take long; else `Sides.barred` says which pictures must not be learned from when they are met.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from sightline.data.readers.divided import Divided
from sightline.data.readers.opening import Data, open_data
from sightline.data.readers.own_split import own_split
from sightline.data.readers.shown import Count, Shown, shown_by
from sightline.data.readers.splits import count_groups, held_out_rows
from sightline.images import renamed

__all__ = [
    "AUTO_SHARE",
    "LEAST",
    "Share",
    "Sides",
    "apart",
    "held_out_of",
    "open_sides",
    "sampled",
    "told_apart",
]

AUTO_SHARE = 0.1
LEAST = 20  # pictures: an interval from fewer says next to nothing
MOST = 20_000  # rows whose pictures are opened unasked, which takes a minute or two
SAMPLE = 600  # rows of more, of whose pictures about half are held out: opened in seconds
STRETCHES = 15  # of rows that follow each other, of pictures that lie in the same file as their rows
TOO_FEW = "these are too few pictures to hold some out"
LOOK_LIKE = "look like one that is learned from, though not pixel by pixel (`sightline data check` lists them)"
LATER = "rows that show (or ask) {} are left out when they are met"

Share: TypeAlias = float | Literal["auto"]


@dataclass(frozen=True, eq=False)
class Sides:
    """Rows to learn from and rows held out (None: there are none), and how they were told apart, in words.

    The counts, and what the rows to learn from show, are None where pictures were not opened, and so is `near_copies`:
    how many pictures held out look like one that is learned from. `held_keys` are those of all rows held out; rows with
    keys that are `barred` must not be learned from, though they are in `train`.
    """

    train: Data
    held_out: Data | None
    how: str
    train_count: Count | None = None
    held_out_count: Count | None = None
    train_shown: Shown | None = field(default=None, repr=False)
    held_out_shown: Shown | None = field(default=None, repr=False)
    near_copies: int | None = None
    barred: frozenset[bytes] = field(default=frozenset(), repr=False)

    @property
    def held_keys(self) -> frozenset[bytes]:
        return frozenset() if self.held_out_shown is None else self.held_out_shown.all_keys

    def __str__(self) -> str:
        if self.held_out is None:
            return f"{self.train.path}: {_rows(self.train)}; {self.how}"
        train, held = self.train_count or _rows(self.train), self.held_out_count or _rows(self.held_out)
        across = f"; {self.near_copies:,} pictures of them {LOOK_LIKE}" if self.near_copies else ""
        return f"{self.train.path}: {train} to learn from; {held} held out: {self.how}{across}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        held = 0 if self.held_out is None else len(self.held_out)
        counts = {"train_rows": None if self.train.is_streamed else len(self.train), "held_out_rows": held}
        for name, count in (("train", self.train_count), ("held_out", self.held_out_count)):
            if count is not None:
                counts |= {f"{name}_pictures": count.pictures, f"{name}_rows_without_picture": count.texts}
        near = {} if self.near_copies is None else {"near_copies_across": self.near_copies}
        return {"path": self.train.path, **counts, **near, "how": self.how}

    def fingerprint(self) -> str:
        """Changes with the rows and with which of them are held out."""
        if self.held_out is None:
            kept = self.train.digest_of_subset()
            whole = self.train.fingerprint()
            return hashlib.sha256(f"{whole} {kept}".encode()).hexdigest() if kept else whole
        parts = [part for side in (self.train, self.held_out) for part in (side.fingerprint(), side.digest_of_subset())]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _own_sides(own: tuple[str, str], on_row: Callable[[], None], options: dict[str, Any]) -> Sides:
    """The two sides of a data set that comes divided."""
    train = open_data(own[0], **options)
    try:
        held_out = open_data(own[1], **options)
        if not held_out.is_in_order_only:
            next(iter(held_out), None)  # one without answers says so in its first row
    except (ValueError, FileNotFoundError) as error:
        raise renamed(
            error,
            f"{error} ({own[1]} is taken for what {own[0]} holds out: if it has no answers, give the latter with "
            "data.held_out=0.1)",
        ) from None
    if held_out.is_in_order_only:
        return Sides(train, None, f"its own {held_out.path} can be read in order only and is left out: decompress it")
    return _two_places(train, held_out, on_row)


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
            one; else `AUTO_SHARE`, but at least `LEAST` pictures and at most a third. Of more than `MOST` rows, whose
            pictures it would take long to open, about half of those that `SAMPLE` rows show.
        validation: the rows to hold out, instead of a share.
        on_row: hears of each row that is read to divide them.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `open_data`; or a given share leaves one side empty, or all rows
            of `validation` show pictures that are learned from.
    """
    streamed = bool(options.get("streaming"))
    own = own_split(path) if share == "auto" and validation is None and not streamed else None
    if own is not None:
        return _own_sides(own, on_row, options)
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
        return _of_many(rows, on_row)
    return _divided(rows, share, on_row)


def _rows(data: Data) -> str:
    return "a stream of rows" if data.is_streamed else f"{len(data):,} rows"


def held_out_of(keys: Sequence[Sequence[bytes]], share: Share) -> np.ndarray:
    """Which rows are held out at `share`, bool [rows], given each row's keys; raises as `held_out_rows`."""
    return held_out_rows(keys, AUTO_SHARE, LEAST) if share == "auto" else held_out_rows(keys, share)


def _part(keys: Sequence[Sequence[bytes]]) -> np.ndarray:
    """Which rows of a sample are held out, bool [rows]: those of about half of its pictures. Where it shows the same
    again and again, it has shown about all that there is, and is divided as a whole file."""
    all_new = 2 * len({key for row in keys for key in row}) > len(keys)
    return held_out_rows(keys, 0.5) if all_new else held_out_of(keys, "auto")


def told_apart(
    data: Data | Divided, keys: Sequence[Sequence[bytes]], numbers: Sequence[int], share: Share
) -> np.ndarray:
    """On which side training would have the rows `numbers` of `data`, whose keys are known: int8 [rows], 1 where they
    are held out, -1 where they are left out as they show the same as the other side, 0 where they are learned from."""
    if isinstance(data, Divided):
        return _by_own_split(data, keys, numbers)
    if share != "auto" or data.is_in_order_only or len(data) <= MOST:
        chosen = held_out_of(keys, share)
        return np.zeros(len(keys), dtype=np.int8) if share == "auto" and chosen.all() else chosen.astype(np.int8)
    places = {number: place for place, number in enumerate(numbers)}
    looked_at = [places[number] for number in sampled(data).tolist() if number in places]
    part = _part([keys[place] for place in looked_at])
    sides = np.zeros(len(keys), dtype=np.int8)
    held = [place for place, chosen in zip(looked_at, part.tolist(), strict=True) if chosen]
    known = {key for place in held for key in keys[place]}
    sides[[not known.isdisjoint(row) for row in keys]] = -1
    sides[held] = 1
    return np.zeros_like(sides) if part.all() else sides


def _by_own_split(data: Divided, keys: Sequence[Sequence[bytes]], numbers: Sequence[int]) -> np.ndarray:
    start = len(data.train)
    held = np.asarray(numbers) >= start
    if data.held_out.is_in_order_only:  # `open_sides` leaves it out
        return -held.astype(np.int8)
    if len(data.held_out) > MOST:
        held_numbers = set((sampled(data.held_out) + start).tolist())
        unused = held & np.array([number not in held_numbers for number in numbers], dtype=bool)
    else:
        unused = np.zeros_like(held)
    sides = np.where(unused, -1, held).astype(np.int8)
    # Which side gives way is `_two_places`' rule.
    stays, goes = (1, 0) if data.train.is_in_order_only or start > MOST else (0, 1)
    known = {key for row, side in zip(keys, sides, strict=True) if side == stays for key in row}
    shared = np.array([not known.isdisjoint(row) for row in keys], dtype=bool)
    sides[shared & (sides == goes)] = -1
    return sides


def _divided(rows: Data, share: Share, on_row: Callable[[], None]) -> Sides:
    shown = shown_by(rows, on_row)
    chosen = held_out_of(shown.keys, share)
    if chosen.all() or not chosen.any():
        if share == "auto":
            return Sides(rows, None, TOO_FEW, train_shown=shown)
        what = "all" if chosen.all() else "none"
        raise ValueError(
            f"{what} of the {len(rows)} rows of {rows.path} would be held out at held_out={share:g}: take another share"
        )
    how = _auto_in_words(shown.keys, chosen) if share == "auto" else f"{share:.0%} of the pictures"
    train, held = (rows.subset(np.flatnonzero(side)) for side in (~chosen, chosen))
    left, out = shown.of(~chosen), shown.of(chosen)
    return Sides(
        train,
        held,
        f"{how}, known by their pixels",
        left.counted(),
        out.counted(),
        train_shown=left if len(rows) <= MOST else None,
        held_out_shown=out,
        near_copies=out.near_copies_of(left),
    )


def _auto_in_words(keys: Sequence[Sequence[bytes]], chosen: np.ndarray) -> str:
    """What `held_out_of` took at "auto"."""
    if (chosen == held_out_rows(keys, AUTO_SHARE)).all():
        return f"{AUTO_SHARE:.0%} of the pictures"
    if count_groups(keys) // 3 < LEAST:
        return "at most a third of the pictures, as there are so few"
    return f"{LEAST} pictures, as {AUTO_SHARE:.0%} of them would be fewer"


def sampled(rows: Data) -> np.ndarray:
    """The numbers of up to `SAMPLE` rows from all over `rows`, always the same ones."""
    if len(rows) <= SAMPLE:
        return np.arange(len(rows))
    if not rows.holds_pictures:
        return np.sort(np.random.default_rng(len(rows)).choice(len(rows), SAMPLE, replace=False))
    long = SAMPLE // STRETCHES  # for what is packed together is unpacked together
    starts = np.linspace(0, len(rows) - long, STRETCHES).astype(np.int64)
    return (starts[:, None] + np.arange(long)).ravel()


def _of_many(rows: Data, on_row: Callable[[], None]) -> Sides:
    """Sides of a file too large to be looked through: what else shows a picture that is held out is barred."""
    numbers = sampled(rows)
    shown = shown_by(rows.subset(numbers), on_row)
    chosen = _part(shown.keys)
    if chosen.all() or not chosen.any():
        return Sides(rows, None, TOO_FEW)
    kept = np.ones(len(rows), dtype=bool)
    kept[numbers[chosen]] = False
    how = f"of more than {MOST:,} rows a part of {len(numbers)} from all over them; {LATER.format('the same')}"
    train, held = rows.subset(np.flatnonzero(kept)), rows.subset(numbers[chosen])
    return _barring(train, held, how, shown.of(chosen))


def _two_places(train: Data, held_out: Data, on_row: Callable[[], None]) -> Sides:
    """Sides that lie apart. What is held out is less the rows that show a picture of the other side, or, where that is
    too large to be looked through, its pictures are barred there."""
    how = f"the split {held_out.path} of its own"
    if not held_out.is_in_order_only and len(held_out) > MOST:
        held_out, how = held_out.subset(sampled(held_out)), f"{SAMPLE} rows from all over {how}"
    out = shown_by(held_out, on_row)
    if train.is_in_order_only or len(train) > MOST:
        return _barring(train, held_out, f"{how}; {LATER.format('the same')}", out)
    learned = shown_by(train, on_row)
    known = learned.all_keys
    fresh = np.array([known.isdisjoint(row) for row in out.keys], dtype=bool)
    if not fresh.any():
        raise ValueError(
            f"all {len(held_out)} rows of {held_out.path} show pictures that {train.path} shows too: take another "
            "split, or a share by held_out"
        )
    if dropped := int((~fresh).sum()):
        how += f", less {dropped:,} rows that show (or ask) what is learned from"
    held, out = held_out.subset(np.flatnonzero(fresh)), out.of(fresh)
    across = out.near_copies_of(learned)
    return Sides(train, held, how, learned.counted(), out.counted(), learned, out, across)


def _barring(train: Data, held_out: Data, how: str, out: Shown) -> Sides:
    return Sides(train, held_out, how, held_out_count=out.counted(), held_out_shown=out, barred=out.all_keys)


def apart(sides: Sequence[Sides]) -> list[Sides]:
    """The same with no row on any training side that shows a picture, or asks a text, which another holds out.

    Raises:
        ValueError: nothing is left of a training side.
    """
    return [_without(one, [other for other in sides if other is not one]) for one in sides]


def _without(one: Sides, others: Sequence[Sides]) -> Sides:
    held = frozenset[bytes]().union(*(other.held_keys for other in others)) - one.held_keys
    if not held:
        return one
    if one.train_shown is None:
        how = one.how if one.barred else f"{one.how}; {LATER.format('what another file holds out')}"
        return replace(one, how=how, barred=one.barred | held)
    kept = np.array([held.isdisjoint(row) for row in one.train_shown.keys], dtype=bool)
    if kept.all():
        return one
    if not kept.any():
        names = ", ".join(sorted({other.held_out.path for other in others if other.held_out is not None}))
        raise ValueError(
            f"all {len(kept)} rows of {one.train.path} show (or ask) what is held out of {names}: leave it out, or "
            "hold out less"
        )
    left = one.train_shown.of(kept)
    how = f"{one.how}; {int((~kept).sum()):,} more rows that show (or ask) what another file holds out are left out"
    count = one.train_count and left.counted()
    train = one.train.subset(np.flatnonzero(kept))
    across = None if one.held_out_shown is None else one.held_out_shown.near_copies_of(left)
    return replace(one, train=train, how=how, train_count=count, train_shown=left, near_copies=across)
