"""The rows of Parquet files, a few at a time: `ParquetRows`. It knows columns and bytes, not what they mean."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from sightline.labelling.rows import Item

__all__ = ["ParquetRows"]

AT_ONCE = 32  # rows in memory, pictures and all


class ParquetRows:
    """The rows of all `paths`, one after the other; each row is a dict of its columns.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: one of them is no Parquet file, or all are empty.
    """

    options = frozenset({"image_field", "prompt_field", "image_folder"})

    def __init__(self, paths: list[Path], folder: Path):
        self.folder = folder
        # A row group is the least that can be read alone: its file, its number there, the rows before it in the file.
        self._groups: list[tuple[Path, int, int]] = []
        counts = []
        for path in paths:
            before = 0
            for number, rows in enumerate(_group_sizes(path)):
                self._groups.append((path, number, before))
                counts.append(rows)
                before += rows
        self._starts = [0, *accumulate(counts)]
        if not len(self):
            raise ValueError(f"{paths[0] if len(paths) == 1 else folder} holds no rows")

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> Iterator[Item]:
        stop = min(stop, len(self))
        while start < stop:
            group = bisect.bisect_right(self._starts, start) - 1
            end = min(stop, self._starts[group + 1])
            yield from self._read_group(group, start - self._starts[group], end - self._starts[group])
            start = end

    def _read_group(self, group: int, start: int, stop: int) -> Iterator[Item]:
        import pyarrow as pa

        path, number, before = self._groups[group]
        name = path.relative_to(self.folder).as_posix()
        try:
            for place, fields in enumerate(_rows_of(path, number, start, stop), start=before + start + 1):
                yield Item(f"{name}, row {place}", fields)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} is damaged in row group {number}: {_one_line(error)}") from None


def _group_sizes(path: Path) -> list[int]:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ImportError(f"{path} needs pyarrow: pip install 'sightline[data]'") from None
    try:
        with ParquetFile(path) as file:
            return [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {_one_line(error)}") from None


def _rows_of(path: Path, group: int, start: int, stop: int) -> Iterator[dict[str, Any]]:
    from pyarrow.parquet import ParquetFile

    # Without a pre-buffer only the pages under way are in memory, not the whole row group.
    with ParquetFile(path, pre_buffer=False) as file:
        place = 0
        for batch in file.iter_batches(AT_ONCE, row_groups=[group]):
            if place + len(batch) > start:
                yield from batch.slice(max(start - place, 0), stop - max(start, place)).to_pylist()
            place += len(batch)
            if place >= stop:
                return


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
