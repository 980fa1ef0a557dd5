"""The rows of Parquet files: `ParquetItems`. In order they are read a few at a time; in any order, from an `ArrowCopy`.

It knows columns and bytes, not what they mean.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from sightline.data.readers.arrow import ArrowCopy, batches_of, class_names, named, one_line
from sightline.data.readers.items import Item, Place, outline

__all__ = ["ParquetItems"]

MAPPED = 64  # copies at a time: a process may have only so many files open, and to map one again is quick


class ParquetItems:
    """The rows of all `paths`, one after the other; each row is a dict of its columns.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: one of them is no Parquet file, or all are empty.
    """

    def __init__(self, paths: list[Path], folder: Path):
        self.folder, self._paths = folder, paths
        # A row group is the least that can be read alone: its file, its number there, the rows before it in the file.
        self._groups: list[tuple[Path, int, int]] = []
        self._names: dict[Path, dict[str, list[str]]] = {}
        counts = []
        for path in paths:
            before = 0
            sizes, self._names[path] = _outline(path)
            for number, rows in enumerate(sizes):
                self._groups.append((path, number, before))
                counts.append(rows)
                before += rows
        self._starts = [0, *accumulate(counts)]
        self._copies: OrderedDict[int, ArrowCopy] = OrderedDict()
        if not len(self):
            raise ValueError(f"{paths[0] if len(paths) == 1 else folder} holds no rows")

    def __len__(self) -> int:
        return self._starts[-1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_copies": OrderedDict()}  # each process maps them itself

    def read(self, start: int, stop: int) -> Iterator[Item]:
        stop = min(stop, len(self))
        while start < stop:
            group = bisect.bisect_right(self._starts, start) - 1
            end = min(stop, self._starts[group + 1])
            yield from self._read_group(group, start - self._starts[group], end - self._starts[group])
            start = end

    def __getitem__(self, index: int) -> Item:
        group = bisect.bisect_right(self._starts, index) - 1
        fields = self._copy_of(group)[index - self._starts[group]]
        return Item(str(self.place(index)), named(fields, self._names[self._groups[group][0]]))

    def _copy_of(self, group: int) -> ArrowCopy:
        if group in self._copies:
            self._copies.move_to_end(group)
        else:
            path, number, _ = self._groups[group]
            self._copies[group] = ArrowCopy(path, number)
            if len(self._copies) > MAPPED:
                self._copies.popitem(last=False)
        return self._copies[group]

    def place(self, index: int) -> Place:
        group = bisect.bisect_right(self._starts, index) - 1
        path, _, before = self._groups[group]
        return Place(path.relative_to(self.folder).as_posix(), "row", str(before + index - self._starts[group] + 1))

    def fingerprint(self) -> str:
        return outline((path.relative_to(self.folder).as_posix(), path) for path in self._paths)

    def _read_group(self, group: int, start: int, stop: int) -> Iterator[Item]:
        import pyarrow as pa

        path, number, _ = self._groups[group]
        try:
            for index, fields in enumerate(_rows_of(path, number, start, stop), start=self._starts[group] + start):
                yield Item(str(self.place(index)), named(fields, self._names[path]))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} is damaged in row group {number}: {one_line(error)}") from None


def _outline(path: Path) -> tuple[list[int], dict[str, list[str]]]:
    """The rows of each row group, and by column the names of its classes."""
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ImportError(f"{path} needs pyarrow: pip install 'sightline[data]'") from None
    try:
        with ParquetFile(path) as file:
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            return sizes, class_names(file.schema_arrow.metadata)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {one_line(error)}") from None


def _rows_of(path: Path, group: int, start: int, stop: int) -> Iterator[dict[str, Any]]:
    place = 0
    for batch in batches_of(path, [group]):
        if place + len(batch) > start:
            yield from batch.slice(max(start - place, 0), stop - max(start, place)).to_pylist()
        place += len(batch)
        if place >= stop:
            return
