"""The door between HTTP and the engine: requests go in while there is a place, answers come out as they are written.

The engine has a thread of its own, and reading a prompt takes another; here their results become asyncio's. A place is
taken before a request's pictures are opened and its grammar is compiled, so that a full server does nothing for one
more.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from starlette.requests import Request

from sightline.engine.engine import Engine, Handle, Prepared
from sightline.engine.request import Piece, Reply, SamplingParams, Usage
from sightline.engine.sampling import LogitsRule
from sightline.engine.scoring import Graded
from sightline.serving.errors import APIError
from sightline.serving.settings import Limits

__all__ = ["Answering", "Choices", "ClientGone", "Place", "Question", "unless_gone"]

Result = TypeVar("Result")
Messages = Sequence[dict[str, Any]]

_READERS = 4  # threads that decode pictures and read prompts; computing is the engine's own thread


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Question:
    """What is asked, once it has been read.

    Args:
        prompts: conversations with open pictures, or prompts that the engine has prepared.
        rule: makes a further processor of logits for each answer.
    """

    prompts: Sequence[Messages | Prepared]
    rule: Callable[[], LogitsRule] | None = None


class Place:
    """Room for a request's answers, in the batch or in the queue, until nothing works on it any more.

    Use it as a context manager. Who works on it beyond that shares it.
    """

    def __init__(self, give_back: Callable[[], None]):
        self._give_back, self._users = give_back, 1

    def share(self) -> None:
        """One more works on it, who will `leave`, too."""
        self._users += 1

    def leave(self) -> None:
        """One less does."""
        self._users -= 1
        if not self._users:
            self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Answering:
    """Takes requests for `engine` while there is a place for them, in the batch or in the queue.

    Args:
        on_rejected: told why a request was refused.
        on_answered: told of each answer that was waited for to its end.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        on_rejected: Callable[[str], None] = lambda reason: None,
        on_answered: Callable[[Reply], None] = lambda reply: None,
    ):
        self._engine, self._on_rejected, self._on_answered = engine, on_rejected, on_answered
        self._places = engine.max_batch_size + limits.queue
        self._taken = 0
        self._seconds = 1.0  # what an answer takes: a moving mean
        self._closing = False
        self._open: set[Choices] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._readers = ThreadPoolExecutor(_READERS, "sightline-reader")
        # What grades waits for the engine: it must not keep readers from the prompts of others.
        self._waiters = ThreadPoolExecutor(engine.max_batch_size, "sightline-waiter")

    @property
    def closing(self) -> bool:
        """Whether no more requests are taken."""
        return self._closing

    @property
    def taken(self) -> int:
        """Places of answers that are under way, wait or are being read."""
        return self._taken

    def place(self, count: int = 1, param: str = "n") -> Place:
        """Room for `count` answers, of which there are so many because of the field `param`.

        Raises:
            APIError: there is none (429), or never will be (400), or the server is stopping (503).
        """
        self._check(count, param)
        self._taken += count
        self._idle.clear()
        return Place(functools.partial(self._leave, count))

    async def start(
        self,
        params: Sequence[SamplingParams],
        read: Callable[[], Awaitable[Question]],
        *,
        prompts: int = 1,
        salt: bytes = b"",
    ) -> Choices:
        """One answer for each of `params` to each prompt, under way when this returns; use it as a context manager.

        Args:
            read: opens pictures and compiles grammars; it is called once there is a place for all the answers.
            prompts: how many of them `read` will give.
            salt: requests of another salt share no prefix of their prompts.

        Raises:
            APIError: as `place`, or a prompt is too long (400); and whatever `read` raises.
        """
        count = prompts * len(params)
        place = self.place(count, "n" if len(params) > 1 else "prompt")
        choices = Choices(count, len(params), place, self._on_close, self._on_answered)
        self._open.add(choices)
        try:
            question = await read()
            assert len(question.prompts) == prompts
            await self.run(functools.partial(self._submit, choices, question, params, salt))
        except BaseException:
            choices.close()
            raise
        return choices

    async def grade(self, place: Place, messages: Messages, choices: Sequence[str], *, salt: bytes = b"") -> Graded:
        """How probable each of `choices` is as the whole answer. Raises APIError where it cannot be graded (400)."""
        abandoned = threading.Event()
        loop = asyncio.get_running_loop()

        def work() -> Graded:
            try:
                return self._grade(messages, choices, salt, abandoned)
            finally:  # not before: until then it takes the engine's time
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(place.leave)

        grading = loop.run_in_executor(self._waiters, work)
        place.share()
        grading.add_done_callback(lambda over: over.cancelled() or over.exception())  # nobody may be left to ask
        try:
            return await asyncio.shield(grading)
        finally:
            abandoned.set()

    async def run(self, work: Callable[[], Result]) -> Result:
        """`work`, which computes and waits for nothing, done in a thread: decoding a picture, writing JSON.

        Whoever calls it holds a place, here or elsewhere: that bounds how much waits for the threads.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def drain(self, seconds: float) -> bool:
        """Take no more requests, and wait for those under way; what is not over after `seconds` is cancelled.

        Returns whether all of them were finished.
        """
        self._closing = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            for choices in list(self._open):
                choices.cancel()
            return False
        return True

    def close(self) -> None:
        """Let go of the threads; what has not begun is dropped."""
        for threads in (self._readers, self._waiters):
            threads.shutdown(wait=False, cancel_futures=True)

    def _submit(self, choices: Choices, question: Question, params: Sequence[SamplingParams], salt: bytes) -> None:
        try:
            for number, prompt in enumerate(question.prompts):
                read = prompt if isinstance(prompt, Prepared) else self._engine.prepare(prompt, salt)
                for index, one in enumerate(params, number * len(params)):
                    if choices.closed:
                        return
                    rules = [] if question.rule is None else [question.rule()]
                    choices.add(self._engine.submit(read, one, rules=rules, listener=choices.listener(index)))
        except ValueError as error:
            raise _as_api_error(error) from None

    def _grade(self, messages: Messages, choices: Sequence[str], salt: bytes, abandoned: threading.Event) -> Graded:
        try:
            return self._engine.grade(messages, choices, salt=salt, abandoned=abandoned)
        except ValueError as error:
            raise _as_api_error(error) from None

    def _check(self, count: int, param: str) -> None:
        if self._closing:
            self._on_rejected("closing")
            raise APIError("the server is stopping: ask another one", status=503, code="stopping", retry_after=5)
        if count > self._places:
            text = f"{count} answers are more than the {self._places} that this server has places for: ask for fewer"
            raise APIError(text, param=param, code="invalid_value")
        if self._taken + count > self._places:
            self._on_rejected("queue")
            wait = max(1, round(self._seconds * self._taken / self._engine.max_batch_size))
            message = f"{self._taken} answers are under way or wait, and there is no place for {count} more"
            raise APIError(f"{message}: come again later", status=429, code="queue_full", retry_after=min(wait, 60))

    def _on_close(self, choices: Choices) -> None:
        self._open.discard(choices)
        self._seconds += 0.1 * (choices.seconds - self._seconds)

    def _leave(self, count: int) -> None:
        self._taken -= count
        if not self._taken:
            self._idle.set()


class Choices:
    """The answers to one request, side by side. Leaving the context cancels what is still under way.

    Args:
        a_prompt: how many of them answer the same prompt.
        place: theirs, which they leave in the end.
        on_answered: told of each whole answer; of those to one prompt, the first has read it.
    """

    def __init__(
        self,
        count: int,
        a_prompt: int,
        place: Place,
        on_close: Callable[[Choices], None],
        on_answered: Callable[[Reply], None],
    ):
        self._loop = asyncio.get_running_loop()
        self._count, self._a_prompt = count, a_prompt
        self._place, self._on_close, self._on_answered = place, on_close, on_answered
        self._started = self._loop.time()
        self._pieces: asyncio.Queue[tuple[int, Piece | None]] = asyncio.Queue()
        self._handles: list[Handle] = []
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
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, (index, piece))

        return hear

    async def __aenter__(self) -> Choices:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Piece]]:
        """Pieces of all answers as they come, each with its answer's number. Raises what an answer failed with."""
        ended: set[int] = set()
        while len(ended) < self._count:
            index, piece = await self._pieces.get()
            if piece is not None:
                yield index, piece
            elif index not in ended:
                ended.add(index)
                reply = self.reply(index)
                if index % self._a_prompt:
                    reply = replace(reply, usage=Usage(completion_tokens=reply.usage.completion_tokens))
                self._on_answered(reply)

    async def replies(self) -> list[Reply]:
        """All answers whole. Raises what one of them failed with."""
        async for _ in self:
            pass
        return [self.reply(index) for index in range(self._count)]

    def reply(self, index: int) -> Reply:
        """Answer `index`, which is over.

        Raises:
            Exception: what it failed with; an APIError where a rule of its own ended it.
        """
        return self._handles[index].result(timeout=0)

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
        """Cancel what is under way, and leave the place."""
        if self.closed:
            return
        self.closed = True
        self.cancel()
        self._on_close(self)
        self._place.leave()


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """What `work` gives, unless the client goes away first: then `work` is cancelled.

    The request's body must have been read.

    Raises:
        ClientGone: the client went away.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _as_api_error(error: ValueError) -> APIError:
    """What the engine says of a request that it cannot answer. Only its own words: those of a library tell too much."""
    if type(error) is not ValueError:
        return APIError("the request cannot be read")
    text = " ".join(str(error).split()).removeprefix("sample 0, ")
    code = "context_length_exceeded" if "max_position_embeddings" in text or "KV cache" in text else "invalid_value"
    return APIError(text, code=code)
