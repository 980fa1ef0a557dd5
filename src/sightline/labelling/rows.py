"""What is to be labelled, row by row: a folder of pictures, a JSONL file, Parquet files or WebDataset shards.

Each reader knows how many rows there are and reads from any of them on, so that a job goes on in the middle. A row is
handed on as its container holds it; what is asked about it, and whether its picture can be opened, is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sightline.data.chat_file import read_chat_file

__all__ = ["PICTURES", "Item", "PictureRows", "Rows", "open_rows"]

_OPENED = {"png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "tif", "tiff"}
PICTURES = frozenset(_OPENED | {"heic", "heif", "avif", "jxl"})  # these are listed as bad rows, not passed over
PARQUET = (".parquet", ".pq")
SHARDS = (".tar", ".tar.gz", ".tgz")
LINES = (".jsonl", ".json")


@dataclass(frozen=True)
class Item:
    """One row as it lies there: its fields, or why it has none. `where` is what people call it."""

    where: str
    fields: dict[str, Any]
    error: str = ""


class Rows(Protocol):
    """Rows in an order that stays the same; paths of pictures in them are relative to `folder`.

    `options` are those of `Asking` that mean something here, beside its prompt.
    """

    folder: Path
    options: frozenset[str]

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Iterator[Item]:
        """The rows from `start` up to, not including, `stop`."""
        ...


def open_rows(data: str | os.PathLike[str], skip: Path | None = None) -> Rows:
    """The rows of a file or folder, which is told from its name and from the names in it.

    A folder is read with all folders below it, sorted by path; what is hidden, or lies in the folder `skip`, is not.

    Raises:
        FileNotFoundError: there is nothing at `data`.
        ValueError: it holds no rows, several kinds of them, or is damaged.
        ImportError: pyarrow, which Parquet needs, is not installed.
    """
    path = Path(data)
    if path.is_dir():
        return _open_folder(path.resolve(), skip)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.name.lower().endswith(LINES):
        return LineRows(path.resolve())
    if path.name.lower().endswith(PARQUET + SHARDS):
        return _open_containers([path.resolve()], path.resolve().parent)
    raise ValueError(f"{path} is none of a folder of pictures, JSONL, Parquet or WebDataset shards (.tar)")


class PictureRows:
    """Pictures in a folder: each row is a path relative to it."""

    options: frozenset[str] = frozenset()

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    def read(self, start: int, stop: int) -> Iterator[Item]:
        for name in self.names[start:stop]:
            yield Item(name, {"image": name})


class LineRows:
    """The rows of a JSONL file, or of a JSON file that is one list."""

    options = frozenset({"image_field", "prompt_field", "image_folder"})

    def __init__(self, path: Path):
        self.folder, self._file = path.parent, read_chat_file(path)

    def __len__(self) -> int:
        return len(self._file)

    def read(self, start: int, stop: int) -> Iterator[Item]:
        for number in range(start, min(stop, len(self))):
            where = f"{self._file.path.name}, {self._file.where(number).rpartition(', ')[2]}"
            try:
                fields = self._file.fields(number)
            except (ValueError, RecursionError) as error:
                yield Item(where, {}, str(error))
                continue
            is_object = isinstance(fields, dict)
            yield Item(where, fields if is_object else {}, "" if is_object else "the row is no JSON object")


def _open_folder(folder: Path, skip: Path | None) -> Rows:
    names = _names(folder, skip and skip.resolve())
    pictures = [name for name in names if name.rpartition(".")[2].lower() in PICTURES]
    containers = [name for name in names if name.lower().endswith(PARQUET + SHARDS)]
    if pictures and containers:
        raise ValueError(
            f"{folder} holds {len(pictures)} pictures and {len(containers)} files of them ({containers[0]}): "
            "give the folder or file of one kind"
        )
    if pictures:
        return PictureRows(folder, pictures)
    if not containers:
        raise ValueError(f"{folder} holds no pictures, Parquet files or WebDataset shards")
    return _open_containers([folder / name for name in containers], folder)


def _names(folder: Path, skip: Path | None) -> list[str]:
    """Paths of the files below `folder`, relative to it, with '/' between their parts."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and Path(place, name) != skip]
        found += [Path(place, name).relative_to(folder).as_posix() for name in files if name[0] != "."]
    return sorted(found)


def _open_containers(paths: list[Path], folder: Path) -> Rows:
    # Local imports: pyarrow is an extra, and a quarter of a second.
    if all(path.name.lower().endswith(PARQUET) for path in paths):
        from sightline.labelling.parquet import ParquetRows

        return ParquetRows(paths, folder)
    if all(path.name.lower().endswith(SHARDS) for path in paths):
        from sightline.labelling.shards import ShardRows

        return ShardRows(paths, folder)
    raise ValueError(f"{folder} holds Parquet files and WebDataset shards: give the folder or file of one kind")
