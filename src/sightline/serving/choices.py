"""The answers to one request, side by side: `Choices`.

The engine's thread tells of them, asyncio reads them, and each is counted once, read or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from sightline.engine.engine import Handle
from sightline.engine.loop import StepFailed
from sightline.engine.request import Piece, Reply, Usage
from sightline.serving.errors import APIError

__all__ = ["Choices", "step_error"]


class Choices:
    """The answers to one request, side by side. Leaving the context cancels what is still under way.

    Args:
        a_prompt: how many of them answer the same prompt.
        leave: gives back the place that they take.
        on_answered: told of each answer that is over; of those to one prompt, the first has read it.
        on_failed: told of each that the engine failed on.
    """

    def __init__(
        self,
        count: int,
        a_prompt: int,
        leave: Callable[[], None],
        on_close: Callable[[Choices], None],
        on_answered: Callable[[Reply], None],
        on_failed: Callable[[], None],
    ):
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # that of the request, to which what it used is counted
        self._count, self._a_prompt = count, a_prompt
        self._leave, self._on_close = leave, on_close
        self._on_answered, self._on_failed = on_answered, on_failed
        self._started = self._loop.time()
        self._pieces: asyncio.Queue[tuple[int, Piece | None]] = asyncio.Queue()
        self._handles: list[Handle] = []
        self._counted: set[int] = set()
        self._lock = threading.Lock()  # handles come from a reader's thread
        self._cancelled = self.closed = False

    def add(self, handle: Handle) -> None:
        """One more answer; cancelled at once if all have been."""
        with self._lock:
            self._handles.append(handle)
            cancelled = self._cancelled
        if cancelled:
            handle.cancel()

    def listener(self, index: int) -> Callable[[Piece | None], None]:
        """What the engine tells answer `index` to."""

        def hear(piece: Piece | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._hear, index, piece, context=self._context)

        return hear

    def _hear(self, index: int, piece: Piece | None) -> None:
        self._pieces.put_nowait((index, piece))
        if self.closed:
            self._count_unread()

    async def __aenter__(self) -> Choices:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Piece | None]]:
        """Pieces of all answers as they come, each with its answer's number, and None at the end of each.

        Raises what an answer failed with.
        """
        ended: set[int] = set()
        while len(ended) < self._count:
            index, piece = await self._pieces.get()
            if piece is not None:
                yield index, piece
            elif index not in ended:
                ended.add(index)
                self._count_over(index)
                self.reply(index)
                yield index, None

    async def replies(self) -> list[Reply]:
        """All answers whole. Raises what one of them failed with."""
        async for _ in self:
            pass
        return [self.reply(index) for index in range(self._count)]

    def reply(self, index: int) -> Reply:
        """Answer `index`, which is over.

        Raises:
            Exception: what it failed with; an APIError where a rule of its own or a step that failed ended it.
        """
        try:
            return self._handles[index].result(timeout=0)
        except StepFailed:  # the engine has logged it
            raise step_error() from None

    def _count_over(self, index: int) -> None:
        """Tell once of an answer that is over."""
        if index in self._counted or index >= len(self._handles):
            return
        self._counted.add(index)
        try:
            reply = self.reply(index)
        except Exception:
            self._on_failed()
            return
        if index % self._a_prompt:
            reply = replace(reply, usage=Usage(completion_tokens=reply.usage.completion_tokens))
        self._on_answered(reply)

    def _count_unread(self) -> None:
        """Nobody reads any more: what was computed is counted all the same."""
        while not self._pieces.empty():
            index, piece = self._pieces.get_nowait()
            if piece is None:
                self._count_over(index)

    @property
    def seconds(self) -> float:
        """How long they have been under way."""
        return self._loop.time() - self._started

    def cancel(self) -> None:
        """End all answers now; what there is of them is their reply."""
        with self._lock:
            self._cancelled = True
            handles = list(self._handles)
        for handle in handles:
            handle.cancel()

    def close(self) -> None:
        """Cancel what is under way, and give back the place."""
        if self.closed:
            return
        self.closed = True
        self.cancel()
        self._count_unread()
        self._on_close(self)
        self._leave()


def step_error() -> APIError:
    """What is said of an answer that a step of the engine ended."""
    text = "a step of the engine failed, which ended all answers in it: ask again"
    return APIError(text, status=503, code="engine", retry_after=1)
