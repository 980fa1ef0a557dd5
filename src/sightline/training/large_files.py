"""Large files, read through before the first step by several processes: `check_rows`.

Preflight measures a sample of them; that each of their rows can teach is seen here. No picture is opened.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import DataLoader, Dataset

from sightline.data.readers import Data
from sightline.data.sample import sample_of
from sightline.processor import VLMProcessor
from sightline.training.row_checks import Limit, check_length, checked_row

__all__ = ["begin_worker", "check_rows"]

STRETCH = 512  # rows that a process reads at a time

# What has been read through in this run, and to which limit: an earlier stage's file needs no second reading.
_done: WeakKeyDictionary[Data, Limit | None] = WeakKeyDictionary()


def check_rows(
    files: Sequence[Data],
    processor: VLMProcessor,
    limit: Limit | None,
    workers: int,
    on_row: Callable[[int], None] | None = None,
) -> None:
    """Read all rows of `files` in `workers` processes (0: in this one); `on_row` hears of how many more it was.

    Raises:
        ValueError: a row cannot be learned from; the message names the first such one, and the remedy.
    """
    for rows in files:
        if rows not in _done or _done[rows] != limit:
            stretches = _Stretches(rows, processor, limit)
            loader = DataLoader(
                stretches,
                batch_size=None,
                num_workers=workers,
                generator=torch.Generator(),  # or this would draw from the model's random numbers
                worker_init_fn=begin_worker,
            )
            for index, problem in enumerate(loader):
                if problem:
                    raise ValueError(problem)
                if on_row is not None:
                    on_row(len(stretches.of(index)))
            _done[rows] = limit


def begin_worker(_: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process of a run; the trainer, which ends it, needs its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Or the garbage collector, as it marks what the worker has from the trainer, would copy it all.
    gc.freeze()


class _Stretches(Dataset[str]):
    """By stretch of rows that follow each other: what is wrong with its first bad row, nothing where all are good."""

    def __init__(self, rows: Data, processor: VLMProcessor, limit: Limit | None):
        self.rows, self.processor, self.limit = rows, processor, limit

    def __len__(self) -> int:
        return -(-len(self.rows) // STRETCH)

    def of(self, index: int) -> range:
        return range(index * STRETCH, min((index + 1) * STRETCH, len(self.rows)))

    def __getitem__(self, index: int) -> str:
        try:
            for where, row in self.rows.subset(self.of(index)).attempts():
                if isinstance(row, Exception):
                    return str(row)
                ids, _ = checked_row(sample_of(row), self.processor, partial(str, where))
                check_length(len(ids), self.limit, partial(str, where))
        except (ValueError, OSError) as error:
            return str(error)
        return ""
