"""Parquet in any order: `ArrowCopy`, a copy of a row group as Arrow, of which single rows can be read where they lie.

Parquet itself cannot give one row without the thousands around it. Hugging Face `datasets` makes such copies too, but
needs three times the memory of a file's largest row group for it, and itself a second and 150 MB in every process.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sightline.data.cache import cache_folder

__all__ = ["ArrowCopy", "batches_of", "class_names", "named", "one_line"]

AT_ONCE = 32  # rows in memory, pictures and all
BUFFER = 2**20  # bytes of each column that are read ahead


class ArrowCopy:
    """The rows of a row group of a Parquet file, by number. The copy is made where there is none yet, and mapped.

    So what is copied is what is read, and the first row of a large file does not wait for all of it. Copies lie in
    `sightline/arrow` below `XDG_CACHE_HOME` (`~/.cache` if that is not set); to delete them does no harm.

    Raises:
        ValueError: the file is damaged, or there is no room for its copy.
    """

    def __init__(self, path: Path, group: int):
        import pyarrow as pa

        copy = _copied(path, group)
        try:
            self._file = pa.ipc.open_file(pa.memory_map(str(copy)))
        except (pa.ArrowException, OSError):  # torn by a power cut: made anew
            copy.unlink(missing_ok=True)
            self._file = pa.ipc.open_file(pa.memory_map(str(_copied(path, group))))

    def __getitem__(self, index: int) -> dict[str, Any]:
        (fields,) = self._file.get_batch(index // AT_ONCE).slice(index % AT_ONCE, 1).to_pylist()
        return fields


def batches_of(path: Path, groups: Sequence[int] | None = None) -> Iterator[Any]:
    """Record batches of up to `AT_ONCE` rows of a Parquet file, or of its row groups `groups`."""
    from pyarrow.parquet import ParquetFile

    # Without a pre-buffer and with a small one, only the pages under way are in memory, not the whole row group.
    with ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) as file:
        yield from file.iter_batches(AT_ONCE, row_groups=groups)


def _copied(path: Path, group: int) -> Path:
    """The copy of a row group; of a file that has changed, the old one's copies go."""
    import pyarrow as pa

    folder = cache_folder("arrow")
    state, name = path.stat(), hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
    copies = folder / f"{name}-{state.st_size}-{state.st_mtime_ns}"
    copy = copies / f"{group}.arrow"
    if copy.is_file():
        return copy
    beside = copies / f".{uuid.uuid4().hex}"
    try:
        for old in folder.glob(f"{name}-*"):
            if old != copies:
                shutil.rmtree(old, ignore_errors=True)
        copies.mkdir(parents=True, exist_ok=True)
        _write(path, group, beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        _put(beside, copy)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} cannot be copied to {folder}, which reading it in any order needs: {one_line(error)}; "
            "XDG_CACHE_HOME names another place"
        ) from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return copy


def _put(beside: Path, copy: Path) -> None:
    try:
        beside.replace(copy)
    except OSError:
        if not copy.is_file():  # else another process was faster with the same one, and Windows holds what is mapped
            raise


def _write(path: Path, group: int, copy: Path) -> None:
    """Batches of exactly `AT_ONCE` rows, the last apart, so that a row's number tells its batch."""
    import pyarrow as pa
    from pyarrow.parquet import read_schema

    schema, left, rows = read_schema(path), list[Any](), 0
    with pa.OSFile(str(copy), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches_of(path, [group]):
            left.append(batch)
            rows += len(batch)
            if rows >= AT_ONCE:
                table = pa.Table.from_batches(left, schema).combine_chunks()
                writer.write_table(table.slice(0, AT_ONCE), max_chunksize=AT_ONCE)
                left, rows = table.slice(AT_ONCE).to_batches(), rows - AT_ONCE
        if rows:
            writer.write_table(pa.Table.from_batches(left, schema).combine_chunks())


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """By column the names of its classes, as `datasets` writes them into a Parquet file's schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    # Until version 3, `datasets` wrote a list of structs as a list.
    labels = {name: one for name, one in features.items() if isinstance(one, dict) and one.get("_type") == "ClassLabel"}
    return {name: list(one["names"]) for name, one in labels.items()}


def named(fields: dict[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The row with its classes by name instead of by number; -1 is no class.

    >>> named({"label": 1, "id": 7}, {"label": ["cat", "dog"]})
    {'label': 'dog', 'id': 7}
    """
    for column in names.keys() & fields.keys():
        number = fields[column]
        if isinstance(number, int):
            fields[column] = names[column][number] if 0 <= number < len(names[column]) else None
    return fields


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
