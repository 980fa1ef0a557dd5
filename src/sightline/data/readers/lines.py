"""The rows of one text file: JSONL, a JSON list, CSV or TSV. `LineItems` keeps their places, not the rows."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sightline.data.readers.items import Item, Place, ends
from sightline.data.readers.places import line_places, list_places, table_places

__all__ = ["LineItems"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NO_LIST = "is one JSON object, not a list"
# An object with one of these fields may be a row.
_OF_TURNS = ("messages", "conversations", "texts", "prompt")
_OF_ROWS = frozenset({*_OF_TURNS, "question", "answer", "answers", "caption", "text", "label", "image"})
_LIST_IN = re.compile(r"""^(?P<indent>[ \t]+)"(?P<key>[^"\\]+)"\s*:\s*\[""", re.MULTILINE)


class LineItems:
    """The rows of `path`, which may be shared by the worker processes of a DataLoader.

    `columns` are those of a table's header, else None; `kind` is what people call the file. A file in UTF-16, as
    spreadsheets save it, is kept in memory.

    Raises:
        ValueError: the file holds no rows, is one JSON object, or is no JSON list, CSV or UTF-8 although it begins like
            that.
    """

    def __init__(self, path: Path):
        self.path, self.folder = path, path.parent
        self.columns: list[str] | None = None
        self._delimiter = ""
        self._recoded = _recoded(path)
        with self._open() as file:
            start = len(_BYTE_ORDER_MARK) if file.read(3) == _BYTE_ORDER_MARK else 0
            file.seek(start)
            self.kind, self._places = self._find(file, start)
        if not len(self):
            raise ValueError(f"{path} holds no rows")

    def _open(self) -> BinaryIO:
        return self.path.open("rb") if self._recoded is None else io.BytesIO(self._recoded)

    def _find(self, file: BinaryIO, start: int) -> tuple[str, np.ndarray]:
        if ends(self.path, (".csv", ".tsv")):
            return "a table", self._find_table(file, start)
        first = next((line.strip() for line in file if line.strip()), b"")
        file.seek(start)
        if first == b"{":
            raise ValueError(f"{self.path} {_NO_LIST}: {_remedy(_lists_over_lines(file))}")
        if first[:1] == b"[":
            return "a JSON list", _places(list_places(file, start, self.path))
        places = _places(line_places(file, start))
        if len(places) == 1 and ends(self.path, (".json",)) and (lists := _lists_in_line(_bytes(file, places[0]))):
            raise ValueError(f"{self.path} {_NO_LIST}: {_remedy(lists)}")
        return "JSON lines", places

    def _find_table(self, file: BinaryIO, start: int) -> np.ndarray:
        header = file.readline()
        self._delimiter = max(_DELIMITERS, key=lambda one: header.count(one.encode()))
        file.seek(start)
        places = _places(table_places(file, start, self._delimiter, self.path))
        if not len(places):
            raise ValueError(f"{self.path} holds no rows")
        self.columns = [name.strip() for name in self._record(file, places[0])]
        twice = [name for name in self.columns if self.columns.count(name) > 1]
        if twice:
            raise ValueError(
                f"{self.path} has two columns named {twice[0]!r}: give each its own name in the first line"
            )
        return places[1:]

    def __len__(self) -> int:
        return len(self._places)

    def read(self, start: int, stop: int) -> Iterator[Item]:
        with self._open() as file:
            for index in range(start, min(stop, len(self))):
                yield self._item(file, index)

    def __getitem__(self, index: int) -> Item:
        with self._open() as file:
            return self._item(file, index)

    def place(self, index: int) -> Place:
        return Place(self.path.name, "row" if self.kind == "a JSON list" else "line", str(self._places[index][2]))

    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _item(self, file: BinaryIO, index: int) -> Item:
        where = str(self.place(index))
        if self.columns is not None:
            record = self._record(file, self._places[index])
            if len(record) != len(self.columns):
                return Item(
                    where, {}, f"it has {len(record)} cells, but the first line names {len(self.columns)} columns"
                )
            return Item(where, dict(zip(self.columns, record, strict=True)))
        try:
            fields = json.loads(_bytes(file, self._places[index]))
        except (ValueError, RecursionError) as error:
            return Item(where, {}, f"it is not JSON: {error}")
        if not isinstance(fields, dict):
            return Item(where, {}, f"it is no JSON object, but {_short(fields)}")
        return Item(where, fields)

    def _record(self, file: BinaryIO, place: np.ndarray) -> list[str]:
        return next(csv.reader([_bytes(file, place).decode()], delimiter=self._delimiter, strict=True))


def _recoded(path: Path) -> bytes | None:
    """What a file in UTF-16 says, in UTF-8; None where it is in no such.

    Raises:
        ValueError: the file is damaged.
    """
    with path.open("rb") as file:
        if file.read(2) not in _UTF_16:
            return None
    try:
        return path.read_bytes().decode("utf-16").encode()
    except UnicodeError as error:
        raise ValueError(f"{path} begins as UTF-16, but is damaged: {error}: save it as UTF-8") from None


def _lists_over_lines(file: BinaryIO) -> list[str]:
    """The names of the outermost lists in a JSON object over several lines, of which the beginning is read."""
    found = list(_LIST_IN.finditer(file.read(2**16).decode("utf-8", errors="replace")))
    outer = min((len(match["indent"]) for match in found), default=0)
    return [match["key"] for match in found if len(match["indent"]) == outer]


def _lists_in_line(line: bytes) -> list[str]:
    """The names of the lists of objects in a JSON object in one line; none where it may be a row itself."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return []
    if not isinstance(fields, dict) or not _OF_ROWS.isdisjoint(name.lower() for name in fields):
        return []
    return [name for name, value in fields.items() if isinstance(value, list) and value and isinstance(value[0], dict)]


def _remedy(lists: list[str]) -> str:
    return f"give the list in {' or '.join(map(repr, lists))}, as a file of its own" if lists else "give a list of rows"


def _places(found: Iterator[tuple[int, int, int]]) -> np.ndarray:
    """int64 [rows, 3]."""
    kept = array("q")
    for one in found:
        kept.extend(one)
    return np.frombuffer(kept, dtype=np.int64).reshape(-1, 3) if kept else np.empty((0, 3), dtype=np.int64)


def _bytes(file: BinaryIO, place: np.ndarray) -> bytes:
    file.seek(place[0])
    return file.read(int(place[1] - place[0]))


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
