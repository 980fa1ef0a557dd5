"""The rows of large files, checked by a process of its own while the run is under way: `RowWatch`.

What preflight cannot read before the first step is read here, in order and at a low priority. A row that cannot teach
stops the run as it would have stopped it in preflight, with its name, only later.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from weakref import WeakKeyDictionary

from sightline.data.readers import Data
from sightline.data.sample import sample_of
from sightline.processor import VLMProcessor
from sightline.training.row_checks import BEGIN_ANEW, Limit, check_length, checked_row

__all__ = ["RowWatch"]

# What has been read through in this run, and to which limit: an earlier stage's file needs no second reading.
_done: WeakKeyDictionary[Data, Limit | None] = WeakKeyDictionary()


class RowWatch:
    """Checks all rows of `files` from when it is entered until it is left; `raise_found` says what it has found."""

    def __init__(self, files: Sequence[Data], processor: VLMProcessor, limit: Limit | None):
        self.files = [rows for rows in files if rows not in _done or _done[rows] != limit]
        self.processor, self.limit = processor, limit
        self._process: multiprocessing.process.BaseProcess | None = None

    def __enter__(self) -> RowWatch:
        if self.files:
            self._found, sender = multiprocessing.Pipe(duplex=False)
            self._process = multiprocessing.Process(
                target=_check, args=(self.files, self.processor, self.limit, sender), daemon=True
            )
            self._process.start()
            sender.close()  # the child's: the pipe ends when it does
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._found.close()

    def raise_found(self, wait: bool = False) -> None:
        """Raise what has been found so far; with `wait`, when all is read.

        Raises:
            ValueError: a row cannot be learned from; the message names it and the remedy.
        """
        while self.files and self._process is not None and self._found.poll(None if wait else 0):
            try:
                said = self._found.recv()
            except EOFError:  # it was killed from outside: each row is checked again when its batch is made
                self.files = []
                return
            if said:
                raise ValueError(said + BEGIN_ANEW)
            _done[self.files.pop(0)] = self.limit


def _check(files: Sequence[Data], processor: VLMProcessor, limit: Limit | None, sender: Connection) -> None:
    """Send "" for each file that is good, or the first thing that is wrong."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # as a data worker: or collecting garbage would copy what it has from the trainer
    with suppress(OSError, AttributeError):
        os.nice(10)
    with suppress(BrokenPipeError):
        for rows in files:
            sender.send(_problem(rows, processor, limit))


def _problem(rows: Data, processor: VLMProcessor, limit: Limit | None) -> str:
    """What is wrong with the first bad row; nothing where all are good."""
    parent = os.getppid()
    try:
        for where, row in rows.attempts():
            if os.getppid() != parent:
                raise SystemExit  # a killed run leaves nobody behind
            if isinstance(row, Exception):
                return str(row)
            ids, _ = checked_row(sample_of(row), processor, partial(str, where))
            check_length(len(ids), limit, partial(str, where))
    except (ValueError, OSError) as error:
        return str(error)
    return ""
