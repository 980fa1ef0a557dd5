"""Large files, read through before the first step by several processes: `check_rows`.

Preflight measures a sample of them; that each of their rows can teach, and which are the longest, is seen here. No
picture is opened.
"""

from __future__ import annotations

import gc
import heapq
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sightline.data.readers import Data
from sightline.data.sample import sample_of
from sightline.processor import VLMProcessor
from sightline.training.row_checks import Limit, check_length, checked_row

__all__ = ["LongRow", "begin_worker", "check_rows", "readers_for"]

STRETCH = 512  # rows after which a process says how far it is
KEPT = 64  # of the longest rows of a file
MOST_READERS = 32


class LongRow(NamedTuple):
    """Tokens and pictures of a file's row, and which it is."""

    tokens: int
    images: int
    row: int


class _Stretch(NamedTuple):
    """How many rows were read, what is wrong with the last, and the longest."""

    rows: int
    problem: str
    longest: list[LongRow]


# What has been read through in this process: with which processor, and the longest rows.
_done: WeakKeyDictionary[Data, tuple[VLMProcessor, list[LongRow]]] = WeakKeyDictionary()


def check_rows(
    files: Sequence[Data],
    processor: VLMProcessor,
    limit: Limit | None,
    readers: int,
    on_row: Callable[[int], None] | None = None,
) -> list[list[LongRow]]:
    """The longest rows of each file, all of whose rows are read in `readers` processes (0: in this one).

    `on_row` hears of how many more rows it was. A file that an earlier stage has had read is not read again.

    Raises:
        ValueError: a row cannot be learned from, and the message names it and the remedy; or a process was killed.
    """
    found = []
    for rows in files:
        known = _done.get(rows)
        if known is None or known[0] is not processor:
            known = _done[rows] = (processor, _read(rows, processor, limit, readers, on_row))
        for one in known[1]:
            check_length(one.tokens, limit, partial(rows.where, one.row))
        found.append(known[1])
    return found


def readers_for(workers: int) -> int:
    """How many processes read, where a run has so many workers for its batches: one for each core, or none."""
    if workers == 0:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # One that is not forked imports everything anew and is sent the places of all rows.
    return min(cores, MOST_READERS if multiprocessing.get_start_method() == "fork" else workers)


def begin_worker(_: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process of a run; the trainer, which ends it, needs its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Or the garbage collector, as it marks what the worker has from the trainer, would copy it all.
    gc.freeze()


def _read(
    rows: Data, processor: VLMProcessor, limit: Limit | None, readers: int, on_row: Callable[[int], None] | None
) -> list[LongRow]:
    longest: list[LongRow] = []
    # Closed at once when a row is bad: an error that is kept would keep the processes.
    with closing(_stretches(_Rows(rows, processor, limit), readers)) as stretches:
        for stretch in stretches:
            if stretch.problem:
                raise ValueError(stretch.problem)
            longest = heapq.nlargest(KEPT, [*longest, *stretch.longest])
            if on_row is not None:
                on_row(stretch.rows)
    return longest


def _stretches(rows: _Rows, readers: int) -> Generator[_Stretch]:
    loader = DataLoader(
        rows,
        batch_size=None,
        num_workers=readers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # or this would draw from the model's random numbers
        worker_init_fn=begin_worker,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise ValueError(
            f"{rows.rows.path}: a process that reads its rows was killed ({error}): give it memory, or set "
            "train.workers=0 or train.check_rows=false"
        ) from None


def _as_it_is(stretch: Any) -> Any:
    return stretch


class _Rows(IterableDataset[_Stretch]):
    """A file's rows stretch by stretch, up to the first bad one: in a process of several, those of its part."""

    def __init__(self, rows: Data, processor: VLMProcessor, limit: Limit | None):
        self.rows, self.processor, self.limit = rows, processor, limit

    def __iter__(self) -> Iterator[_Stretch]:
        first, end = self._part()
        attempts = self.rows.subset(range(first, end)).attempts()
        for start in range(first, end, STRETCH):
            stretch = self._stretch(attempts, range(start, min(start + STRETCH, end)))
            yield stretch
            if stretch.problem:
                return

    def _part(self) -> tuple[int, int]:
        # Neighbours, since what is packed together is read together.
        info = get_worker_info()
        number, count = (info.id, info.num_workers) if info else (0, 1)
        return len(self.rows) * number // count, len(self.rows) * (number + 1) // count

    def _stretch(self, attempts: Iterator[tuple[str, Any]], numbers: range) -> _Stretch:
        sizes = []
        try:
            for number in numbers:
                where, row = next(attempts)
                if isinstance(row, Exception):
                    raise row
                sample = sample_of(row)
                ids, _ = checked_row(sample, self.processor, partial(str, where))
                check_length(len(ids), self.limit, partial(str, where))
                sizes.append(LongRow(len(ids), len(sample["images"]), number))
        except (ValueError, OSError) as error:
            return _Stretch(len(sizes) + 1, str(error), [])
        return _Stretch(len(sizes), "", heapq.nlargest(KEPT, sizes))
