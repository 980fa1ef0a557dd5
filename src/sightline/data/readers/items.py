"""What every container gives: rows by number, as they lie there (`Item`, `Items`); and which file is what, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

__all__ = ["LINES", "PARQUET", "PICTURES", "SHARDS", "Item", "Items", "Place", "ends", "outline"]

_OPENED = {"png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "tif", "tiff"}
_OPENED |= {"ppm", "pgm", "pbm", "pnm", "tga", "jp2", "j2k", "ico", "avif"}
# The rest are listed as bad rows, not passed over.
PICTURES = frozenset(_OPENED | {"heic", "heif", "jxl", "psd", "svg", "dng", "cr2", "nef", "arw"})
PARQUET = (".parquet", ".pq")
SHARDS = (".tar", ".tar.gz", ".tgz")
LINES = (".jsonl", ".json", ".csv", ".tsv")

_EDGE = 2**20  # bytes at a container's beginning and end that stand for all of it


@dataclass(frozen=True)
class Item:
    """One row as it lies there: its fields, or why it has none. `where` is what people call it."""

    where: str
    fields: dict[str, Any]
    error: str = ""


class Place(NamedTuple):
    """What people call a row: the container's name, what it counts (`line`, `row`, or nothing) and the row's label."""

    container: str
    unit: str
    label: str

    def __str__(self) -> str:
        return ", ".join(word for word in (self.container, f"{self.unit} {self.label}".strip()) if word)


class Items(Protocol):
    """Rows in an order that stays the same; paths of pictures in them are relative to `folder`.

    What is wrong with a row is its item's `error`; what is wrong with its container is raised as a ValueError.
    """

    folder: Path

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Iterator[Item]:
        """The rows from `start` up to, not including, `stop`."""
        ...

    def __getitem__(self, index: int) -> Item:
        """The row `index`, from 0, without reading those before it."""
        ...

    def place(self, index: int) -> Place: ...

    def fingerprint(self) -> str:
        """A hash that changes with the rows, but not with where they lie."""
        ...


def ends(path: Path | str, endings: tuple[str, ...]) -> bool:
    """Whether a file's name ends like this, in any case."""
    return str(path).lower().endswith(endings)


def outline(paths: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 of files' names, sizes, and first and last MiB: seconds, however large they are."""
    digest = hashlib.sha256()
    for name, path in paths:
        size = path.stat().st_size
        digest.update(f"{name} {size}\n".encode(errors="surrogateescape"))
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(_EDGE, size - _EDGE))
            digest.update(file.read())
    return digest.hexdigest()
