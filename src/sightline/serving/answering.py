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
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from starlette.requests import Request

from sightline.engine.engine import Engine, Prepared
from sightline.engine.loop import StepFailed
from sightline.engine.request import Reply, SamplingParams
from sightline.engine.sampling import LogitsRule
from sightline.engine.scoring import Graded
from sightline.serving.choices import Choices, step_error
from sightline.serving.errors import APIError
from sightline.serving.settings import Limits

__all__ = ["Answering", "ClientGone", "Place", "Question", "unless_gone"]

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
        on_answered: told of each answer that is over, by its own end or because nobody waits for it any more.
        on_failed: told of each answer that the engine failed on.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        on_rejected: Callable[[str], None] = lambda reason: None,
        on_answered: Callable[[Reply], None] = lambda reply: None,
        on_failed: Callable[[], None] = lambda: None,
    ):
        self._engine, self._on_rejected = engine, on_rejected
        self._on_answered, self._on_failed = on_answered, on_failed
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
        choices = Choices(count, len(params), place.leave, self._on_close, self._on_answered, self._on_failed)
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
        except StepFailed:
            raise step_error() from None

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
