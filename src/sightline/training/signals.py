"""What Ctrl-C and a scheduler's SIGTERM do to a run: a step is finished and saved, everything else ends with a line.

Exit codes are those of the shell, but for a run that Ctrl-C has stopped after a step: it has lost nothing, and ends
with 0. What is saved, and when, is the loop's business.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from sightline.training.checkpoint import checkpoints

__all__ = ["Finishing", "Stopped", "interruptible"]

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A signal ended the run; the message says how to go on, and `code` is the exit code."""

    def __init__(self, number: int, what: str, code: int):
        super().__init__(f"stopped by {signal.Signals(number).name}{what}")
        self.number, self.code = number, code

    @classmethod
    def after_step(cls, number: int, checkpoint: Path) -> Stopped:
        """The step was finished and saved."""
        code = 0 if number == signal.SIGINT else 128 + number
        return cls(number, f"; saved {checkpoint}. Go on with --resume", code)

    @classmethod
    def at_once(cls, number: int, folder: Path) -> Stopped:
        """What was under way is lost; `folder` is where the checkpoints are, if there are any."""
        found = checkpoints(folder)
        what = (
            f"; the newest checkpoint is {found[-1]}. Go on with --resume"
            if found
            else (" before anything was saved. Begin again with the same command")
        )
        return cls(number, what, 128 + number)


class _Interrupt(KeyboardInterrupt):
    """As a Ctrl-C, past everything that takes errors."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """What is done in it ends at once; `folder` is where the run's checkpoints are.

    Raises:
        Stopped: a signal has come.
    """

    def interrupt(number: int, _: Any) -> NoReturn:
        raise _Interrupt(number)

    before = {number: signal.signal(number, interrupt) for number in NUMBERS}
    try:
        yield
    except _Interrupt as one:
        # What was interrupted goes, and its processes with it: an error keeps the one that it replaces.
        one.__traceback__ = None
        raise Stopped.at_once(one.number, folder) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Finishing:
    """Keeps the first signal that comes while it is entered in `number`; the next takes the handler of before."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __enter__(self) -> Finishing:
        self._before = {number: signal.signal(number, self._keep) for number in NUMBERS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _keep(self, number: int, _: Any) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
