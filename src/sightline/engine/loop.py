"""The engine's thread: it takes requests from other threads, and steps while there is something to do.

It knows neither tokens nor words, only when to step.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from sightline.engine.core import EngineCore
from sightline.engine.job import Job

__all__ = ["EngineLoop", "StepFailed"]

Fail = Callable[[BaseException], None]

BROKEN_AFTER = 5  # steps that failed in a row: what fails each time is seldom asked so often with nothing else between

log = logging.getLogger(__name__)


class StepFailed(RuntimeError):
    """A step failed, of which all answers in it hear, whichever of them is to blame: asking again may help."""


class _Action(NamedTuple):
    """Something that the thread is to do, and who hears of it where it cannot be done any more."""

    do: Callable[[], Any]
    fail: Fail


class EngineLoop:
    """A daemon thread around `core`, started when it is first needed.

    A step that fails is told to all jobs, and the next one begins anew. Where even that fails, the loop is closed and
    everybody hears of it: nobody waits for a thread that has ended.
    """

    def __init__(self, core: EngineCore):
        self._core = core
        self._condition = threading.Condition()
        self._inbox: list[_Action] = []
        self._doing: deque[_Action] = deque()  # of the thread alone
        self._thread: threading.Thread | None = None
        self._closed = self._ended = False
        self._failed_steps = 0  # in a row

    @property
    def is_broken(self) -> bool:
        """Whether it has ended by a failure, or step after step fails: only a new engine helps."""
        return self._ended or self._failed_steps >= BROKEN_AFTER

    def submit(self, add: Callable[[], Job], fail: Fail) -> Callable[[], None]:
        """Let the thread `add` a job, and tell `fail` if it cannot; the result cancels it.

        Raises:
            RuntimeError: the loop is closed.
        """
        taken: list[Job] = []
        dropped = threading.Event()

        def take() -> None:
            try:
                job = add()
            except Exception as error:
                fail(error)
                return
            taken.append(job)
            if dropped.is_set():
                self._core.cancel(job)

        def end() -> None:
            for job in taken:
                self._core.cancel(job)
            taken.clear()

        def cancel() -> None:
            dropped.set()
            self._post(_Action(end, lambda error: None))

        self._post(_Action(take, fail), or_raise=True)
        return cancel

    def run(self, work: Callable[[], Any], timeout: float | None = None) -> Any:
        """`work` done between two steps, and what it gave.

        Raises:
            TimeoutError: it was not done after `timeout` seconds.
            Exception: what it raised.
        """
        future: Future[Any] = Future()

        def take() -> None:
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

        def fail(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        self._post(_Action(take, fail), or_raise=True)
        return future.result(timeout)

    def close(self) -> None:
        """End the thread; what is under way is cancelled."""
        with self._condition:
            self._closed = True
            self._condition.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _post(self, action: _Action, or_raise: bool = False) -> None:
        with self._condition:
            if self._closed:
                if or_raise:
                    raise RuntimeError("the engine is closed: make another one")
                return
            self._inbox.append(action)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sightline-engine", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _work(self) -> None:
        try:
            self._step_until_closed()
        except BaseException as error:
            self._end_with(error)

    def _step_until_closed(self) -> None:
        while self._take_requests():
            self._step()
        for job in self._core.jobs:
            self._core.cancel(job)

    def _step(self) -> None:
        had_work = self._core.has_work
        try:
            self._core.step()
        except Exception as error:
            log.error("a step failed", exc_info=error)
            self._failed_steps += 1
            failure = StepFailed(f"a step of the engine failed: {error}")
            failure.__cause__ = error
            # It may have left anything half done: everybody hears of it, and the caches begin anew.
            self._core.fail_all(failure)
        else:
            if had_work:
                self._failed_steps = 0

    def _end_with(self, error: BaseException) -> None:
        """Close, and fail what is under way and what was asked since."""
        with self._condition:
            self._closed = self._ended = True
            left, self._inbox = [*self._doing, *self._inbox], []
        failure = RuntimeError("the engine failed and is closed: make another one")
        failure.__cause__ = error
        self._core.abandon(failure)
        for action in left:
            with contextlib.suppress(Exception):  # each of the others has to hear of it, too
                action.fail(failure)

    def _take_requests(self) -> bool:
        """Wait until there is something to do, and do what was asked since; False when the loop is closed."""
        with self._condition:
            while not (self._inbox or self._closed or self._core.has_work):
                self._condition.wait()
            self._doing.extend(self._inbox)
            self._inbox = []
            closed = self._closed
        while self._doing:
            self._doing[0].do()
            self._doing.popleft()
        return not closed
