"""How probable given answers are: the prompt is computed once, and each answer's tokens behind it.

An answer's probability is that of its tokens and of the end behind them: "yes" and "yes, it is" are two answers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sightline.engine.core import EngineCore
from sightline.engine.job import Job
from sightline.engine.loop import EngineLoop
from sightline.engine.prompts import PreparedImage
from sightline.engine.request import Prompt, Usage

__all__ = ["Graded", "Score", "check_wanted", "score"]

_AT_ONCE = 8
_LOOK_SECONDS = 0.1  # between looks whether somebody still waits


@dataclass(frozen=True)
class Score:
    """One of the choices: `logprob` of it as the whole answer, and its `probability` among the choices alone."""

    text: str
    logprob: float
    probability: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Graded:
    """The choices in the order given, and what grading them took; `completion_tokens` are the choices' own."""

    scores: tuple[Score, ...]
    usage: Usage


def check_wanted(abandoned: threading.Event) -> None:
    """Raise RuntimeError once it is set."""
    if abandoned.is_set():
        raise RuntimeError("nobody waits for the answers' grades any more")


def score(
    core: EngineCore,
    loop: EngineLoop,
    prompt: Prompt,
    pictures: Mapping[bytes, PreparedImage],
    choices: Sequence[tuple[str, Sequence[int]]],
    abandoned: threading.Event,
) -> Graded:
    """As `Engine.grade`; `choices` are texts and their tokens."""
    if not choices or len(dict(choices)) < len(choices):
        raise ValueError("two choices are alike: give each once" if choices else "give at least one choice")
    if not core.end_tokens:
        raise ValueError("the model has no end token, so no answer is a whole one: set its eos_token_id")
    # Of several ends any may come: the core adds them up.
    answers = [(*ids, core.end_tokens[0]) for _, ids in choices]
    logprobs: list[float] = []
    waiting = [_Grading(core, loop, prompt, pictures, answers[0])]
    cached = 0
    try:
        for done in range(len(answers)):
            check_wanted(abandoned)
            logprobs.append(waiting[done].wait(abandoned))
            cached = cached if done else waiting[0].cached
            # The first one computes the prompt; then a few at a time, so that others have their places too.
            ahead = min(len(answers), done + 1 + _AT_ONCE)
            waiting += [_Grading(core, loop, prompt, pictures, answer) for answer in answers[len(waiting) : ahead]]
    finally:
        for grading in waiting:
            grading.cancel()
    most = max(logprobs)
    total = sum(math.exp(one - most) for one in logprobs)
    scores = (
        Score(text, logprob, math.exp(logprob - most) / total, answer)
        for (text, _), logprob, answer in zip(choices, logprobs, answers, strict=True)
    )
    usage = Usage(
        prompt_tokens=len(prompt.ids),
        completion_tokens=sum(map(len, answers)),
        image_tokens=prompt.image_tokens,
        cached_tokens=cached,
    )
    return Graded(tuple(scores), usage)


class _Grading:
    """One answer being graded."""

    def __init__(
        self,
        core: EngineCore,
        loop: EngineLoop,
        prompt: Prompt,
        pictures: Mapping[bytes, PreparedImage],
        answer: Sequence[int],
    ):
        self._over = threading.Event()
        self._job: Job | None = None
        self._error: BaseException | None = None
        self.cancel = loop.submit(lambda: core.add_graded(prompt, pictures, answer, self._on_end), self._fail)

    def _on_end(self, job: Job) -> None:
        self._job = job
        self._over.set()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._over.set()

    @property
    def cached(self) -> int:
        """How many of the prompt's tokens were found in the cache."""
        assert self._job is not None
        return self._job.sequence.cached

    def wait(self, abandoned: threading.Event) -> float:
        """The answer's log probability. Raises RuntimeError as `check_wanted`."""
        while not self._over.wait(_LOOK_SECONDS):
            check_wanted(abandoned)
        if self._error is not None:
            raise self._error
        assert self._job is not None
        if self._job.error is not None:
            raise self._job.error
        if self._job.finish_reason == "cancelled":
            raise RuntimeError("the engine was closed before the answer was graded")
        return sum(self._job.graded)
