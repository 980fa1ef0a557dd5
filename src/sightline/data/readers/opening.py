"""From a path to conversations, whatever lies there: `open_data` finds the format, says it, and reads when asked to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.data.conversation import ChatRow, MissingPicture, RowError
from sightline.data.readers.detect import describe, find
from sightline.data.readers.folder import PictureItems
from sightline.data.readers.hub import HUB, StreamItems, open_hub
from sightline.data.readers.items import Item, Items
from sightline.data.readers.lines import LineItems
from sightline.data.readers.shapes import Format, Reading
from sightline.data.readers.shards import ShardItems

__all__ = ["Data", "open_data"]

SPARSE = 50  # rows that are passed over for each that is wanted, from where on each is looked up


class Data:
    """Conversations, each read when it is asked for: only their places are kept.

    It may be shared by the worker processes of a DataLoader. `path` is what was opened, `format` says in words how it
    is understood, and `folder` is where paths of pictures start. Reading a row raises a ValueError or FileNotFoundError
    that names file, row and remedy.
    """

    def __init__(
        self, path: str, items: Items, reading: Reading, folder: Path, format: str, rows: np.ndarray | None = None
    ):
        self.path, self.folder, self.format = path, folder, format
        self._items, self._reading, self._rows = items, reading, rows

    @property
    def name(self) -> str:
        """A short name, for people."""
        return Path(self.path.removeprefix(HUB)).stem

    @property
    def holds_pictures(self) -> bool:
        """Whether pictures come as bytes with their rows, so that to read rows is to read pictures."""
        return not isinstance(self._items, (LineItems, PictureItems))

    @property
    def may_share_pictures(self) -> bool:
        """Whether rows can name the same picture file; reading them opens no picture."""
        return isinstance(self._items, LineItems)

    @property
    def is_streamed(self) -> bool:
        """Whether rows come in their order only, and nobody knows how many there are."""
        return isinstance(self._items, StreamItems)

    @property
    def is_in_order_only(self) -> bool:
        """Whether no row can be read without those before it."""
        return self.is_streamed or (isinstance(self._items, ShardItems) and self._items.is_compressed)

    def __len__(self) -> int:
        return len(self._items) if self._rows is None else len(self._rows)

    def __iter__(self) -> Iterator[ChatRow]:
        for _, row in self.attempts():
            if isinstance(row, Exception):
                raise row
            yield row

    def __getitem__(self, index: int) -> ChatRow:
        return self._row(self._items[self._number(index)])

    def attempts(self) -> Iterator[tuple[str, ChatRow | RowError | MissingPicture]]:
        """All rows in order, with what people call them; of one that cannot be read, the error that says why."""
        for item in self._read():
            try:
                yield self._below(item.where), self._row(item)
            except (RowError, MissingPicture) as error:
                yield self._below(item.where), error

    def where(self, *indices: int) -> str:
        """What people call these rows: file and line, row or name; lines and rows from 1."""
        places = [self._items.place(self._number(index)) for index in indices]
        containers = {place[:2] for place in places}
        if len(places) == 1 or len(containers) > 1 or not places[0].unit:
            return self._below("; ".join(map(str, places)))
        container, unit, _ = places[0]
        return self._below(f"{container}, {unit}s {', '.join(place.label for place in places)}")

    def subset(self, indices: Sequence[int] | np.ndarray) -> Data:
        """The rows `indices`, in ascending order; they keep their names."""
        chosen = np.sort(np.asarray(indices, dtype=np.int64))
        rows = chosen if self._rows is None else self._rows[chosen]
        return Data(self.path, self._items, self._reading, self.folder, self.format, rows)

    def fingerprint(self) -> str:
        """A hash that changes with the rows, not with where they lie; pictures beside a file of rows are not in it."""
        return self._items.fingerprint()

    def digest_of_subset(self) -> str:
        """A hash of which of the rows these are; nothing where they are all."""
        return "" if self._rows is None else hashlib.sha256(self._rows.astype("<i8").tobytes()).hexdigest()

    def _number(self, index: int) -> int:
        if self._rows is not None:
            return int(self._rows[index])
        if self.is_streamed:
            return index
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} rows, but row {index} was asked for")
        return index % len(self)

    def _read(self) -> Iterator[Item]:
        if self._rows is None:
            yield from self._items.read(0, 2**62)
            return
        if not len(self._rows):
            return
        first, last = int(self._rows[0]), int(self._rows[-1])
        if len(self._rows) * SPARSE < last - first:
            for run in np.split(self._rows, np.flatnonzero(np.diff(self._rows) > 1) + 1):
                yield from self._items.read(int(run[0]), int(run[-1]) + 1)
            return
        # From the first to the last that is wanted: a container that is read in order is read once.
        place = 0
        for number, item in enumerate(self._items.read(first, last + 1), first):
            if number == self._rows[place]:
                place += 1
                yield item

    def _below(self, name: str) -> str:
        return name if self.path.startswith(HUB) else f"{self._items.folder}/{name}".removeprefix("./")

    def _row(self, item: Item) -> ChatRow:
        where = self._below(item.where)
        if item.error:
            raise RowError(f"{where}: {item.error}")
        return self._reading.row(item.fields, where, self.folder)


def open_data(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    image_column: str | None = None,
    question_column: str | None = None,
    answer_column: str | None = None,
    prompt: str | None = None,
    image_folder: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    streaming: bool = False,
    split: Literal["train", "held_out"] | None = None,
    held_out: float = 0.1,
    on_row: Callable[[], None] = lambda: None,
) -> Data:
    """The conversations of a file, a folder or a dataset of the hub.

    Args:
        path: JSON, JSONL, CSV, Parquet or a WebDataset shard; a folder of such; a folder of pictures with a
            `metadata.csv` or `.jsonl`, or in folders named after classes; or `hub:ORGANISATION/NAME[/CONFIG][@SPLIT]`.
        format: one of `FORMATS`; None: found out, and said in `Data.format`.
        image_column, question_column, answer_column: of a table, where they have other than the usual names.
        prompt: the question of rows that have none.
        image_folder: where paths of pictures start; None: where the rows lie.
        limit: only the first rows.
        streaming: read a dataset of the hub as it comes, without keeping it.
        split: one side of the rows, divided by `splits.held_out_rows`; every picture is opened for that.
        held_out: the share of the pictures that is held out.
        on_row: hears of each row that is read to divide them.

    Raises:
        FileNotFoundError: there is nothing at `path` or `image_folder`; with `split`, also of a row's picture.
        ValueError: it holds no rows, or several kinds of them; an option does not fit what is there; or, with `split`,
            a row or picture cannot be read, or one side is empty.
        ImportError: a library that the format needs is not installed; the message names the extra.
    """
    reading = Reading(format, image_column, question_column, answer_column, prompt)
    name = os.fspath(path)
    if streaming and not name.startswith(HUB):
        raise ValueError(f"streaming is for datasets of the hub (hub:ORGANISATION/NAME), and {name} lies here")
    items = open_hub(name, streaming) if name.startswith(HUB) else find(Path(name), format)
    folder = items.folder if image_folder is None else Path(image_folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to take the pictures of {name} from")
    data = Data(name, items, reading, folder.resolve(), describe(items, reading, name))
    if limit is not None:
        data = data.subset(range(limit if data.is_streamed else min(limit, len(data))))
    return data if split is None else _side(data, split, held_out, on_row)


def _side(data: Data, split: str, share: float, on_row: Callable[[], None]) -> Data:
    from sightline.data.readers.splits import held_out_rows, row_keys

    if split not in ("train", "held_out"):
        raise ValueError(f"there is no split {split!r}; there is train and held_out")
    chosen = held_out_rows(row_keys(data, on_row), share)
    if chosen.all() or not chosen.any():
        what = "all" if chosen.all() else "none"
        raise ValueError(
            f"{what} of the {len(data)} rows of {data.path} would be held out at held_out={share:g}: take another share"
        )
    return data.subset(np.flatnonzero(chosen if split == "held_out" else ~chosen))
