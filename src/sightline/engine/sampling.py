"""Choosing tokens from logits: greedy rows in one go, the others through transformers' own processors.

A request that samples draws one number a token from a generator of its own, and takes the token at that place of its
distribution's cumulative sum: what it gets depends on its seed and its logits, not on what else is in the batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.generation import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sightline.engine.request import SamplingParams, TokenLogprob

__all__ = ["NAN", "NOTHING", "Chooser", "LogitsRule", "choose", "logprobs_of", "why_nothing"]

NAN = "the model gives nan or infinity: load it in a wider dtype, or look at its weights"
EXCLUDED = "no token is left to choose: a rule or bias excludes all or gives nan"
NOTHING = -1  # instead of a token, where there is none to choose

# As transformers' processors: (input_ids [1, seq], logits [1, vocab]) -> logits [1, vocab].
LogitsRule = Callable[[Tensor, Tensor], Tensor]


class Chooser:
    """How one request's tokens are chosen.

    Args:
        prompt_length: where the answer begins, which presence and frequency are counted over.
        rules: further processors of logits, before those of `params`.
        never: a token that is not chosen, whatever they say.
    """

    def __init__(
        self, params: SamplingParams, prompt_length: int, rules: Iterable[LogitsRule] = (), never: int | None = None
    ):
        self.params, self._never = params, never
        self.rules = [*rules, *_penalties(params, prompt_length)]
        self.warpers = _warpers(params)
        self._random = torch.Generator()
        self._random.manual_seed(secrets.randbits(63) if params.seed is None else params.seed % 2**64)

    @property
    def is_plain(self) -> bool:
        """Whether the token is the likeliest one of the logits as they are."""
        return self.params.is_greedy and not self.rules

    def scores(self, ids: Sequence[int], logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """The logits to choose from, after the text `ids`: float32, -inf where a token is excluded.

        Raises:
            ValueError: a rule gives something of another shape; or as the rule does.
        """
        given = torch.tensor([ids if self.rules else []], device=logits.device, dtype=torch.int64)
        # Copied where there are rules, which may write in place: the logits are also reported.
        scores = logits.to(torch.float32, copy=bool(self.rules))[None]
        for rule in self.rules:
            before, scores = scores.shape, rule(given, scores)
            if scores.shape != before:
                raise ValueError(f"a rule gives scores of shape {[*scores.shape]} instead of {[*before]}: {rule!r}")
        if self.rules and self._never is not None:
            scores = scores.index_fill(1, torch.tensor([self._never], device=scores.device), float("-inf"))
        for warper in self.warpers:
            scores = warper(given, scores)
        return scores[0].float()

    def draw(self) -> float:
        """The next random number in [0, 1)."""
        return torch.rand((), generator=self._random, dtype=torch.float64).item()


def choose(logits: Float[Tensor, "rows vocab"], choosers: Sequence[Chooser], scores: Mapping[int, Tensor]) -> list[int]:
    """One token a row; `scores` are of the rows whose chooser is not plain. Here alone a step waits for the device.

    It is `NOTHING` where scores are no numbers, or exclude every token.
    """
    greedy = logits.argmax(dim=-1)
    highest = logits.gather(-1, greedy[:, None])[:, 0]  # nan where one of them is
    greedy = greedy.where(highest.isfinite(), NOTHING)
    special = list(scores)
    if special:
        chosen = _draw(torch.stack(list(scores.values())), choosers, special)
        greedy = greedy.index_copy(0, torch.tensor(special, device=logits.device), chosen.to(logits.device))
    return greedy.tolist()


def _draw(
    scores: Float[Tensor, "rows vocab"], choosers: Sequence[Chooser], rows: Sequence[int]
) -> Float[Tensor, " rows"]:
    scores = _for_float64(scores)
    chosen = scores.argmax(dim=-1)
    random = [place for place, row in enumerate(rows) if not choosers[row].params.is_greedy]
    if random:
        places = torch.tensor(random, device=scores.device)
        below = scores[places].softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        numbers = torch.tensor([choosers[rows[place]].draw() for place in random], dtype=torch.float64)
        targets = numbers.to(scores.device)[:, None] * below[:, -1:]
        drawn = torch.searchsorted(below, targets, right=True).clamp(max=scores.shape[-1] - 1)
        chosen = chosen.index_copy(0, places, drawn[:, 0])
    highest = scores.amax(dim=-1)  # nan where one of them is
    return chosen.where(highest.isfinite(), NOTHING)


def _for_float64(values: Tensor) -> Tensor:
    """Where they are, or on the processor where their device has no float64."""
    return values.cpu() if values.device.type == "mps" else values


def why_nothing(logits: Float[Tensor, " vocab"]) -> Exception:
    """What is wrong where `choose` has found `NOTHING`: the model's logits, or a rule's scores."""
    wrong = bool(logits.isnan().any() or logits.isposinf().any())
    return FloatingPointError(NAN) if wrong else ValueError(EXCLUDED)


def logprobs_of(logits: Float[Tensor, "rows vocab"], tokens: Sequence[int], top: Sequence[int]) -> list[TokenLogprob]:
    """Row by row the log probability of a token and of the `top` likeliest, by the model's own logits, unscaled.

    They come from the device all at once: one more wait in a step in which somebody asks for them.
    """
    logprobs = _for_float64(logits.float().log_softmax(dim=-1))
    values, places = logprobs.topk(min(max(top), logits.shape[-1]))
    chosen = logprobs.gather(1, torch.tensor(tokens, device=logprobs.device)[:, None])
    # float64 holds a token's number and a float32 exactly.
    rows = torch.cat([chosen.double(), values.double(), places.double()], dim=1).tolist()
    width = values.shape[1]
    return [
        TokenLogprob(
            token, row[0], tuple(zip(map(int, row[1 + width : 1 + width + k]), row[1 : 1 + width], strict=False))
        )
        for token, row, k in zip(tokens, rows, top, strict=True)
    ]


def _warpers(params: SamplingParams) -> LogitsProcessorList:
    found = LogitsProcessorList()
    if params.is_greedy:
        return found
    if params.temperature != 1.0:
        found.append(TemperatureLogitsWarper(float(params.temperature)))
    if params.top_k:
        found.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        found.append(TopPLogitsWarper(params.top_p))
    if params.min_p:
        found.append(MinPLogitsWarper(params.min_p))
    return found


def _penalties(params: SamplingParams, prompt_length: int) -> list[LogitsRule]:
    found: list[LogitsRule] = []
    if params.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(float(params.repetition_penalty)))
    if params.presence_penalty or params.frequency_penalty:
        found.append(_Counted(params.presence_penalty, params.frequency_penalty, prompt_length))
    if params.logit_bias:
        found.append(_Bias(params.logit_bias))
    return found


class _Counted:
    """Lowers a token's logit by `presence` once it has been written, and by `frequency` each time it was."""

    def __init__(self, presence: float, frequency: float, prompt_length: int):
        self.presence, self.frequency, self.prompt_length = presence, frequency, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        written = input_ids[:, self.prompt_length :]
        counts = torch.zeros_like(scores).scatter_add_(1, written, torch.ones_like(written, dtype=scores.dtype))
        return scores - self.presence * (counts > 0) - self.frequency * counts


class _Bias:
    """Adds a number to the logits of some tokens."""

    def __init__(self, bias: Mapping[int, float]):
        self.tokens, self.values = list(bias), list(bias.values())

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        tokens = torch.tensor(self.tokens, device=scores.device)
        values = torch.tensor(self.values, device=scores.device, dtype=scores.dtype)
        return scores.index_add(1, tokens, values[None])
