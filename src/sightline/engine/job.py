"""One request under way in the engine's core: what it asks for, who hears of it, and what came of it.

It computes nothing, and knows neither the scheduler nor the thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sightline.engine.drafting import PromptLookup
from sightline.engine.prompts import PreparedImage
from sightline.engine.request import Sequence, Timings, TokenLogprob, Usage
from sightline.engine.sampling import Chooser

__all__ = ["Job", "OnToken"]

log = logging.getLogger(__name__)

OnToken = Callable[[int, TokenLogprob | None], bool]


@dataclass(eq=False)
class Job:
    """One request under way, and what came of it when `finish_reason` is set.

    `on_token` hears of each token, and of its log probability where that is asked for, and says whether the answer is
    complete with it; `on_end` hears of the end. With `targets` nothing is chosen: they are the given answer's tokens,
    and `graded` becomes their log probabilities. `error` is what ended a job that failed. What `on_end` raises is
    logged, and changes nothing.
    """

    sequence: Sequence
    chooser: Chooser
    pictures: Mapping[bytes, PreparedImage]
    on_token: OnToken
    on_end: Callable[[Job], None]
    lookup: PromptLookup | None = None
    targets: tuple[int, ...] = ()
    graded: list[float] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    error: Exception | None = None
    arrived: float = field(default_factory=time.perf_counter)
    admitted: float | None = None
    first_token: float | None = None
    ended: float | None = None

    def tell_end(self) -> None:
        """Call `on_end`."""
        try:
            self.on_end(self)
        except Exception as error:  # the other jobs have nothing to do with it
            log.error("the end of an answer could not be told", exc_info=error)

    @property
    def usage(self) -> Usage:
        sequence = self.sequence
        return Usage(
            prompt_tokens=len(sequence.prompt.ids),
            completion_tokens=len(sequence.generated),
            image_tokens=sequence.prompt.image_tokens,
            cached_tokens=sequence.cached,
        )

    @property
    def timings(self) -> Timings:
        now = self.ended or time.perf_counter()
        return Timings(
            queued=(self.admitted or now) - self.arrived,
            first_token=(self.first_token or now) - self.arrived,
            total=now - self.arrived,
            completion_tokens=len(self.sequence.generated),
        )
