"""Work that is too large to be done side by side: one at a time in a thread, a few that wait, the others refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sightline.serving.errors import APIError

__all__ = ["OnProgress", "Turns"]

Read = TypeVar("Read")
Result = TypeVar("Result")
OnProgress = Callable[[int, int], None]


class _Abandoned(Exception):
    """Nobody waits for the work any more."""


class Turns:
    """A place for one, and for `waiting` more who want it.

    Args:
        on_rejected: told why a request was refused.
    """

    def __init__(self, waiting: int, on_rejected: Callable[[str], None] = lambda reason: None):
        self._places, self._on_rejected = waiting + 1, on_rejected
        self._taken = 0
        self._lock = asyncio.Lock()

    async def run(self, prepare: Callable[[], Awaitable[Read]], work: Callable[[Read, OnProgress], Result]) -> Result:
        """What `work` makes, when it is its turn, of what `prepare` gave before.

        `work` is done in a thread. It calls what it is given every now and then, which ends it once this has been
        cancelled; its turn is over when the thread is.

        Raises:
            APIError: as many wait as may (429); nothing is prepared then.
            Exception: what `prepare` and `work` raise.
        """
        self._take()
        try:
            read = await prepare()
            await self._lock.acquire()
        except BaseException:
            self._taken -= 1
            raise
        abandoned = threading.Event()

        def on_progress(done: int, total: int) -> None:
            if abandoned.is_set():
                raise _Abandoned

        thread = asyncio.get_running_loop().run_in_executor(None, work, read, on_progress)
        thread.add_done_callback(self._over)
        try:
            return await asyncio.shield(thread)
        finally:
            abandoned.set()

    def _take(self) -> None:
        if self._taken == self._places:
            self._on_rejected("turns")
            text = f"one is being computed and {self._places - 1} wait: come again later"
            raise APIError(text, status=429, code="queue_full", retry_after=5)
        self._taken += 1

    def _over(self, thread: asyncio.Future[Result]) -> None:
        self._taken -= 1
        self._lock.release()
        if not thread.cancelled():
            thread.exception()  # looked at, so that nobody complains of one that was abandoned
