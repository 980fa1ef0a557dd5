"""Results on disk as they come, so that a killed job goes on where it was: `Outcome`.

Every row is one line, in the order of the rows, in one of two files: the results, or beside them the bad rows. A line
is whole when its line break is there, so the lines of both tell exactly what is done. This file knows no pictures,
and no model.
"""

from __future__ import annotations

import heapq
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from sightline.data.picture_files import is_named_by_content
from sightline.labelling.question import OURS
from sightline.whole_file import LEFTOVER

__all__ = ["Outcome", "Places", "Record"]

SYNC_SECONDS = 1.0  # what a power cut may cost; a kill costs nothing that was written


@dataclass(frozen=True)
class Places:
    """The files of a job, all named after the results' `out`."""

    out: Path

    def __post_init__(self) -> None:
        if self.out.suffix != ".jsonl":
            raise ValueError(f"the results are JSONL: give --out a name that ends in .jsonl, not {self.out}")

    @property
    def bad(self) -> Path:
        return self.out.with_suffix(".bad.jsonl")

    @property
    def pictures(self) -> Path:
        return self.out.with_suffix(".images")

    @property
    def settings(self) -> Path:
        return self.out.with_suffix(".job.json")

    def refuse_strangers(self) -> None:
        """Raise FileExistsError where there are results, or settings, that no job has written."""
        if self.settings.exists() and _is_strange(self.settings.read_bytes()):
            raise FileExistsError(
                f"{self.settings} is there already, and no job of this command wrote it: give another --out"
            )
        for path in (self.out, self.bad):
            if _settings_of(self.settings) is None and path.exists() and path.stat().st_size:
                raise FileExistsError(
                    f"{path} is there already, and no job of this command wrote it: give another --out"
                )

    def refuse_source(self, data: Path) -> None:
        """Raise ValueError where `data` is what would be written, or are pictures that a job begun anew would drop."""
        inside = data.resolve().is_relative_to(self.pictures.resolve())
        if inside or any(path.exists() and path.samefile(data) for path in (self.out, self.bad)):
            raise ValueError(f"{data} cannot be read and written at once: give another --out")


@dataclass(frozen=True)
class Record:
    """What became of row number `row`: a line of the results, or (not `good`) of the bad rows."""

    row: int
    good: bool
    line: dict[str, Any]


class Outcome:
    """The results of one job, its settings and its lock; to be used in a `with` statement.

    Its methods are called in this order: `claim`, then `kept` to its end, then `add`.

    Raises:
        FileExistsError: there are results already that no job has written, or another process is writing them.
    """

    def __init__(self, places: Places):
        self.places = places
        self.labelled = self.bad = self.cut = 0  # cut: labelled, but the answer reached its limit of tokens
        self.first_bad: Record | None = None
        places.out.parent.mkdir(parents=True, exist_ok=True)
        places.refuse_strangers()
        self._settings: BinaryIO = places.settings.open("a+b")
        self._files: dict[bool, int] = {}
        self._latest, self._synced = True, time.monotonic()
        try:
            _lock(self._settings, places.out)
        except BaseException:
            self._settings.close()
            raise

    def __enter__(self) -> Outcome:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            os.fsync(file)
            os.close(file)
        self._settings.close()

    def claim(self, settings: dict[str, Any], restart: bool = False) -> None:
        """Begin with `settings`, or go on if they are those of before; `restart` drops what is there.

        Raises:
            FileExistsError: the results are those of other settings.
        """
        there = _settings_of(self.places.settings)
        if there is not None:
            if restart:
                _drop(self.places)
            else:
                _compare(there, json.loads(json.dumps(settings)), self.places.out)
        if restart or there is None:  # in place, since the lock is on this file; nothing is answered yet
            self._settings.truncate(0)
            self._settings.write(json.dumps(settings, ensure_ascii=False, indent=1).encode() + b"\n")
            self._settings.flush()
            os.fsync(self._settings.fileno())
        for path in (self.places.out, self.places.bad):
            _drop_torn_line(path)
        for leftover in self.places.pictures.glob(f"*/{LEFTOVER}*"):
            leftover.unlink()

    def kept(self) -> Iterator[Record]:
        """What is there, in the order of the rows, which are all there up to some row.

        Raises:
            ValueError: a line is not as it was written, or a row is missing or there twice.
        """
        files = (_records(self.places.out, good=True), _records(self.places.bad, good=False))
        for expected, record in enumerate(heapq.merge(*files, key=lambda record: record.row)):
            if record.row != expected:
                raise ValueError(
                    f"{self.places.out} and its bad rows were changed: row {record.row} stands where row {expected} "
                    "was written; put them back, or add --restart to begin anew"
                )
            self._count(record)
            yield record

    @property
    def is_new(self) -> bool:
        """Whether nothing is there."""
        return not any(path.exists() and path.stat().st_size for path in (self.places.out, self.places.bad))

    def add(self, record: Record) -> None:
        """Append the next row's line. What is added in this order is on the disk in this order."""
        self._count(record)
        if record.good not in self._files:
            path = self.places.out if record.good else self.places.bad
            self._files[record.good] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        # The files must not overtake each other on their way to the disk, or a power cut would leave a gap.
        if record.good != self._latest or time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()
        self._latest = record.good
        _write(self._files[record.good], json.dumps(record.line, ensure_ascii=False) + "\n")

    def _sync(self) -> None:
        if self._latest in self._files:
            os.fsync(self._files[self._latest])
        self._synced = time.monotonic()

    def _count(self, record: Record) -> None:
        self.labelled += record.good
        self.bad += not record.good
        self.first_bad = self.first_bad or (None if record.good else record)
        self.cut += record.good and record.line[OURS].get("finish_reason") == "length"


def _settings_of(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):  # none yet, or torn: then nothing was answered yet
        return None


def _is_strange(settings: bytes) -> bool:
    """Whether it cannot be the file of a job, whole or torn by a power cut, which leaves a part of it or zeros."""
    written, ours = settings.rstrip(b"\0"), b'{\n "'
    return not written.startswith(ours) and not ours.startswith(written)


def _lock(file: BinaryIO, out: Path) -> None:
    """Hold the file until this process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows has none, and there two jobs into one file are the user's to avoid
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileExistsError(f"another process is writing {out}: wait for it, or give another --out") from None
    except OSError:
        pass  # a file system without locks


def _compare(there: dict[str, Any], settings: dict[str, Any], out: Path) -> None:
    for key in {**there, **settings}:
        if there.get(key) != settings.get(key):
            raise FileExistsError(
                f"{out} holds answers with {key}={there.get(key)!r}, not {settings.get(key)!r}: "
                "give another --out, or add --restart to drop them"
            )


def _drop(places: Places) -> None:
    for path in (places.out, places.bad):
        path.unlink(missing_ok=True)
    for path in places.pictures.glob("[0-9a-f][0-9a-f]/*"):
        if is_named_by_content(path):
            path.unlink()


def _drop_torn_line(path: Path, step: int = 2**20) -> None:
    if not path.is_file():
        return
    with path.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - step)
            file.seek(start)
            if found := file.read(end - start).rfind(b"\n") + 1:
                end = start + found
                break
            end = start
        if end < size:
            file.truncate(end)


def _records(path: Path, good: bool) -> Iterator[Record]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                fields = json.loads(line)
                yield Record(int((fields[OURS] if good else fields)["row"]), good, fields)
            except (ValueError, TypeError, KeyError):
                raise ValueError(
                    f"{path}, line {number} is not as it was written: put it back, or add --restart to begin anew"
                ) from None


def _write(file: int, text: str) -> None:
    # What is no Unicode (a file's name) becomes JSON's own escape.
    left = memoryview(text.encode(errors="backslashreplace"))
    while left:
        left = left[os.write(file, left) :]
