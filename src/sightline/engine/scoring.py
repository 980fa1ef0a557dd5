"""How probable given answers are: the prompt is computed once, and each answer's tokens behind it.

An answer's probability is that of its tokens and of the end behind them: "yes" and "yes, it is" are two answers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sightline.engine.core import EngineCore, Job
from sightline.engine.loop import EngineLoop
from sightline.engine.prompts import PromptReader
from sightline.engine.request import Prompt

__all__ = ["Score", "score"]


@dataclass(frozen=True)
class Score:
    """One of the choices: `logprob` of it as the whole answer, and its `probability` among the choices alone."""

    text: str
    logprob: float
    probability: float
    tokens: tuple[int, ...]


def score(
    core: EngineCore,
    loop: EngineLoop,
    reader: PromptReader,
    messages: Sequence[dict[str, Any]],
    choices: Sequence[str],
    salt: bytes,
) -> list[Score]:
    """As `Engine.score`."""
    if not choices or len(set(choices)) < len(choices):
        raise ValueError("give at least one choice" if not choices else "two choices are alike: give each once")
    prompt, pictures = reader.read(messages, salt)
    answers = [(*reader.answer_ids(text), min(core.end_tokens)) for text in choices]
    waiting = [_Grading(core, loop, prompt, pictures, answers[0])]
    waiting[0].wait()  # the others find the prompt computed
    waiting += [_Grading(core, loop, prompt, pictures, answer) for answer in answers[1:]]
    logprobs = [grading.wait() for grading in waiting]
    most = max(logprobs)
    total = sum(math.exp(one - most) for one in logprobs)
    return [
        Score(text, logprob, math.exp(logprob - most) / total, answer)
        for text, logprob, answer in zip(choices, logprobs, answers, strict=True)
    ]


class _Grading:
    """One answer being graded."""

    def __init__(self, core: EngineCore, loop: EngineLoop, prompt: Prompt, pictures: Any, answer: Sequence[int]):
        self._over = threading.Event()
        self._job: Job | None = None
        self._error: BaseException | None = None
        loop.submit(lambda: core.add_graded(prompt, pictures, answer, self._on_end), self._fail)

    def _on_end(self, job: Job) -> None:
        self._job = job
        self._over.set()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._over.set()

    def wait(self) -> float:
        """The answer's log probability."""
        self._over.wait()
        if self._error is not None:
            raise self._error
        assert self._job is not None
        if self._job.finish_reason == "cancelled":
            raise RuntimeError("the engine was closed before the answer was graded")
        return sum(self._job.graded)
