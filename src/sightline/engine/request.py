"""What a request is made of, and what comes back: plain data, no tensors.

`Prompt` is what is read, `SamplingParams` how the answer is chosen, `Sequence` one answer under way, `Reply` the
finished one. Nothing here knows when or how anything is computed.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = [
    "ImageRun",
    "Piece",
    "Prompt",
    "Reply",
    "SamplingParams",
    "Sequence",
    "Status",
    "Timings",
    "TokenLogprob",
    "Usage",
]


@dataclass(frozen=True)
class ImageRun:
    """An image's placeholders: `length` positions from `start` on. `key` is the SHA-256 of what is seen there."""

    start: int
    length: int
    key: bytes

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True)
class Prompt:
    """Token ids and the images among them, in order.

    Prompts of another `salt` share no prefix, and their pictures' keys are others, too.
    """

    ids: tuple[int, ...]
    images: tuple[ImageRun, ...] = ()
    salt: bytes = b""

    @property
    def image_tokens(self) -> int:
        return sum(run.length for run in self.images)


@dataclass(frozen=True)
class SamplingParams:
    """How the tokens of an answer are chosen, and when it ends.

    Args:
        max_new_tokens: the most tokens to generate, the end token included.
        temperature: 0 takes the likeliest token (greedy), as does what is so near 0 that logits would overflow.
        top_k, top_p, min_p: what the choice is limited to (0, 1 and 0: nothing); top_p of 0 is the likeliest alone.
        repetition_penalty: over prompt and answer, as transformers has it (Keskar et al., 2019).
        presence_penalty, frequency_penalty: over the answer alone, as OpenAI's API has them.
        logit_bias: added to the logits of these token ids.
        stop: texts that end the answer, or one of them; they are not part of it.
        seed: the same seed gives the same answer, whatever else is in the batch. None: another one each time.
        logprobs: how many of the likeliest tokens to report beside each chosen one. None: not even that one.
        prompt_lookup: how many tokens to draft from what the text has already said, each step (0: none). It
            changes the speed and, being for greedy requests only, never the answer.

    Raises:
        ValueError: a value outside its range, or drafts for a request that samples.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    prompt_lookup: int = 0

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())  # None is the default, as in JSON
        object.__setattr__(self, "stop", stop)
        object.__setattr__(self, "logit_bias", self.logit_bias or {})
        for name, kind, low, high in _RANGES:
            value = getattr(self, name)
            if value is None and name in ("seed", "logprobs"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, kind)):
                raise ValueError(f"{name} is {'a whole number' if kind is int else 'a number'}, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} is between {low:g} and {high:g}, not {value}")
        if any(isinstance(token, bool) or not isinstance(token, int) for token in self.logit_bias):
            raise ValueError(f"logit_bias is by token id, not by {next(iter(self.logit_bias))!r}")
        for token, bias in self.logit_bias.items():
            if not isinstance(bias, int | float) or not bias < math.inf:
                raise ValueError(f"logit_bias adds numbers, -inf at the least, not {bias!r} (token {token})")
        if self.repetition_penalty == 0:
            raise ValueError("repetition_penalty is above 0")
        if wrong := [text for text in self.stop if not isinstance(text, str)]:
            raise ValueError(f"stop is a text or several, not {wrong[0]!r}")
        if any(not text for text in self.stop):
            raise ValueError("an empty stop text would end every answer at once")
        if self.prompt_lookup and not self.is_greedy:
            raise ValueError("prompt_lookup is exact for greedy answers alone: set temperature=0 or prompt_lookup=0")

    @property
    def is_greedy(self) -> bool:
        return self.temperature < 1e-5

    def replace(self, **changes: Any) -> SamplingParams:
        """A copy with some values changed."""
        return dataclasses.replace(self, **changes)


_RANGES = (
    ("max_new_tokens", int, 1, 2**31),
    ("temperature", float, 0, 100),
    ("top_k", int, 0, 2**31),
    ("top_p", float, 0, 1),
    ("min_p", float, 0, 1),
    ("repetition_penalty", float, 0, 100),
    ("presence_penalty", float, -2, 2),
    ("frequency_penalty", float, -2, 2),
    ("logprobs", int, 0, 100),
    ("prompt_lookup", int, 0, 64),
    ("seed", int, -(2**63), 2**64 - 1),
)


class Status(Enum):
    """Where a sequence is: not yet admitted (or preempted), in the running batch, or over."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


_arrivals = itertools.count()


@dataclass(eq=False)
class Sequence:
    """One answer under way.

    `ids` are the prompt's and all that was generated; K/V of the first `computed` of them stand in `blocks`. `draft`
    are guesses at what follows `ids`. `arrival` orders sequences by age. Logits are wanted of the last of `ids` (and
    the drafts behind it); of a sequence that only grades a given answer, of every position from `logits_from` on.
    """

    prompt: Prompt
    params: SamplingParams = SamplingParams()
    ids: list[int] = field(default_factory=list)
    computed: int = 0
    cached: int = 0  # of the prompt's tokens, those found in the prefix cache when it was first admitted
    blocks: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    logits_from: int | None = None
    status: Status = Status.WAITING
    arrival: int = field(default_factory=lambda: next(_arrivals))

    def __post_init__(self) -> None:
        self.ids = self.ids or list(self.prompt.ids)

    @property
    def generated(self) -> list[int]:
        return self.ids[len(self.prompt.ids) :]

    @property
    def missing(self) -> int:
        """Tokens whose K/V are yet to be computed, drafts apart: 1 while decoding."""
        return len(self.ids) - self.computed

    @property
    def reusable(self) -> int:
        """How many of `ids` may come from the prefix cache: a position whose logits are wanted is computed."""
        last = len(self.ids) - 1
        return last if self.logits_from is None else min(last, self.logits_from)

    @property
    def is_decoding(self) -> bool:
        return self.missing == 1 and self.computed > 0


@dataclass(frozen=True)
class TokenLogprob:
    """A chosen token's log probability, and those of the likeliest tokens at its place, best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """Some more of an answer's text, and the tokens that it ends, where their log probabilities are asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Counts of tokens. `cached_tokens` of the prompt were not computed again; `image_tokens` stand for images."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True)
class Timings:
    """Seconds: waiting for a place in the batch, to the first token, and to the end, all since the request came."""

    queued: float = 0.0
    first_token: float = 0.0
    total: float = 0.0
    completion_tokens: int = 0

    @property
    def tokens_per_second(self) -> float:
        """The rate after the first token; 0.0 where there is none to measure."""
        decoding = self.total - self.first_token
        return (self.completion_tokens - 1) / decoding if self.completion_tokens > 1 and decoding > 0 else 0.0


@dataclass(frozen=True)
class Reply:
    """A finished answer. `tokens` holds the end token, if any; `finish_reason` is stop, length or cancelled."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    usage: Usage
    timings: Timings
    logprobs: tuple[TokenLogprob, ...] = ()
