"""A bar on stderr for a job that can be stopped and gone on with: what `eval` and `label` share.

It knows counts and a note to show, not what is counted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["counted"]


@contextmanager
def counted(
    what: str, unit: str, total: int, done: int, where: object = None, again: str = "the same command"
) -> Iterator[Callable[[int, str], None]]:
    """A function of how many `unit` have come and of a note about them; the bar adds their rate and what is left.

    Stopped by Ctrl-C, it says how many of all are in `where`, if something is written there.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    progress = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))
    started, now = time.perf_counter(), 0

    def advance(count: int, note: str) -> None:
        nonlocal now
        now += count
        rate = f"{now / (time.perf_counter() - started):.1f} {unit}/s"
        progress.update(bar, advance=count, note=f"{rate}  {note}".rstrip())

    try:
        with progress:
            bar = progress.add_task(what, total=total, completed=done, note="")
            yield advance
    except KeyboardInterrupt:
        if where is not None:
            print(f"stopped with {done + now} of {total} {unit} in {where}; {again} goes on", file=sys.stderr)
        raise
