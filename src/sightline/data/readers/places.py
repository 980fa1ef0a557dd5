"""Where each row of a text file begins and ends, found without keeping the rows: of JSONL, a JSON list, or CSV.

Each function gives first byte, last byte + 1, and what people count the row by (lines, or a list's rows, from 1).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["line_places", "list_places", "table_places"]

csv.field_size_limit(2**31 - 1)  # a cell may hold a whole picture as a data URI
STRETCH = 2**20  # bytes of a list that are read at a time
_DECODER = json.JSONDecoder()

Found = tuple[int, int, int]


def line_places(file: BinaryIO, start: int) -> Iterator[Found]:
    """The lines of JSONL from byte `start` on, less those that are blank."""
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield start, start + len(line), number
        start += len(line)


def list_places(file: BinaryIO, start: int, path: Path) -> Iterator[Found]:
    """The values of a file that is one JSON list, from byte `start` on. Raises ValueError where it is no JSON."""
    text = _Text(file, start)
    text.take("[")
    number = 0
    while not text.take("]"):
        number += 1
        try:
            if number > 1 and not text.take(","):
                raise ValueError("a comma or the closing bracket is missing")
            place = text.value()
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, row {number} is not JSON: {error}") from None
        yield *place, number
    if text.peek():
        raise ValueError(f"{path} goes on after its list ends")


class _Text:
    """A file from byte `start` on, a stretch at a time. As Latin-1 every byte is one character, so places agree."""

    def __init__(self, file: BinaryIO, start: int):
        self._file, self._before, self._text, self._at = file, start, "", 0

    def peek(self) -> str:
        """The next character that is no space, or nothing at the end."""
        while True:
            while self._text[self._at : self._at + 1] in (" ", "\t", "\r", "\n"):
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, character: str) -> bool:
        """Go past `character`, if that is what comes next."""
        found = self.peek() == character
        self._at += found
        return found

    def value(self) -> tuple[int, int]:
        """Go past a JSON value; its first byte and the one after it."""
        self.peek()
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            # A number that ends where the stretch does may go on in the next.
            if end < len(self._text) or not self._more():
                break
        first, self._at = self._at, end
        return self._before + first, self._before + end

    def _more(self) -> bool:
        left = self._text[self._at :]
        # As much again as there is, so that a long value is not decoded many times over.
        read = self._file.read(max(STRETCH, len(left)))
        self._before += self._at
        self._text, self._at = left + read.decode("latin-1"), 0
        return bool(read)


def table_places(file: BinaryIO, start: int, delimiter: str, path: Path) -> Iterator[Found]:
    """The records of CSV from byte `start` on, the header first; a record may go over several lines.

    Raises:
        ValueError: the file is no UTF-8, or no CSV.
    """
    position, line, first = start, 0, 1

    def lines() -> Iterator[str]:
        nonlocal position, line
        for raw in file:
            position, line = position + len(raw), line + 1
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                raise ValueError(
                    f"{path}, line {line} is not UTF-8: save the file as UTF-8 (it seems to be {_likely(raw)})"
                ) from None

    try:
        for record in csv.reader(lines(), delimiter=delimiter, strict=True):
            if record:
                yield start, position, first
            start, first = position, line + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {first} is not CSV: {error}") from None


def _likely(raw: bytes) -> str:
    """The name of the encoding that bytes which are no UTF-8 are likely in."""
    if b"\0" in raw:
        return "UTF-16 without a byte order mark"
    # Chinese characters are pairs of bytes beyond ASCII; letters with accents are mostly single ones.
    if all(len(run) % 2 == 0 for run in re.findall(rb"[\x80-\xff]+", raw)) and _decodes(raw, "gb18030"):
        return "GB18030"
    return "Windows-1252" if _decodes(raw, "cp1252") else "an older encoding"


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
