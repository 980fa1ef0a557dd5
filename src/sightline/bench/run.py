"""The measurements of `sightline bench`: time to first token, decode rate, throughput, and what the caches are worth.

Engine and peer take turns, so that whatever else the machine does falls on both. Figures are medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

from sightline.bench.asking import (
    Messages,
    another,
    endless,
    engine_answers,
    questions,
    transformers_answers,
)
from sightline.bench.limits import copy_rate, matmul_rate
from sightline.engine.engine import Engine
from sightline.engine.int8 import Int8Experts
from sightline.nn.moe import Experts
from sightline.nn.vision import blocks_up_to

__all__ = ["Figure", "Limits", "bench", "limits", "used_weights"]


@dataclass(frozen=True)
class Figure:
    """One line of the table; `ratio` is how many times better the engine is than transformers."""

    name: str
    unit: str
    engine: float
    transformers: float
    higher_is_better: bool

    @property
    def ratio(self) -> float:
        quotient = self.engine / self.transformers
        return quotient if self.higher_is_better else 1 / quotient

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True)
class Limits:
    """What the machine does at best, and what the engine's prefill and decoding reach of it, as shares."""

    matmul_flops: float
    copy_bytes: float
    prefill_share: float
    decode_share: float


def bench(
    model: Any, processor: Any, rounds: int = 5, batch: int = 16, new_tokens: int = 32, compiled: bool = False
) -> list[Figure]:
    """Measure `model` in both engines, `rounds` times each.

    Raises:
        RuntimeError: in float32, the two do not give the same tokens.
    """
    side = model.config.vision_config.image_size
    asked = questions(side)
    with endless(model), Engine(model, processor, max_batch_size=batch, compile=compiled) as engine:
        ours, theirs = partial(engine_answers, engine), partial(transformers_answers, model, processor)
        some = [next(asked) for _ in range(4)]
        _check_equal(model, ours(some, new_tokens), [theirs([one], new_tokens)[0] for one in some])
        first = _in_turns(rounds, ours, theirs, lambda: ([next(asked)], 1))
        alone = _in_turns(rounds, ours, theirs, lambda: ([next(asked)], 1 + new_tokens))
        many = _in_turns(rounds, ours, theirs, lambda: ([next(asked) for _ in range(batch)], new_tokens))
        again = _second_question(rounds, ours, theirs, asked)
    decoding = [new_tokens / (whole - start) for whole, start in zip(alone, first, strict=True)]
    throughput = [batch * new_tokens / seconds for seconds in many]
    return [
        Figure("time to first token, new picture", "s", first[0], first[1], False),
        Figure("time to first token, second question", "s", again[0], again[1], False),
        Figure("decoding, one answer", "tokens/s", decoding[0], decoding[1], True),
        Figure(f"throughput, {batch} answers", "tokens/s", throughput[0], throughput[1], True),
    ]


def _in_turns(
    rounds: int,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    next_work: Callable[[], tuple[list[Messages], int]],
) -> tuple[float, float]:
    """Median seconds of both over new work each time; one round before that warms up."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + rounds):
        work = next_work()
        for answer, found in zip((ours, theirs), times, strict=True):
            found.append(_seconds(answer, *work))
    return median(times[0][1:]), median(times[1][1:])


def _second_question(
    rounds: int, ours: Callable[..., Any], theirs: Callable[..., Any], asked: Any
) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + rounds):
        messages = next(asked)
        for answer, found in zip((ours, theirs), times, strict=True):
            answer([messages], 1)
            found.append(_seconds(answer, [another(messages)], 1))
    return median(times[0][1:]), median(times[1][1:])


def _seconds(answer: Callable[..., Any], messages: list[Messages], new_tokens: int) -> float:
    started = time.perf_counter()
    answer(messages, new_tokens)
    return time.perf_counter() - started


def _check_equal(model: Any, ours: list[list[int]], theirs: list[list[int]]) -> None:
    if model.dtype.itemsize == 4 and ours != theirs:
        raise RuntimeError("engine and transformers gave different tokens in float32: there is nothing to compare")


def limits(model: Any, figures: Sequence[Figure]) -> Limits:
    """The machine's limits, and the engine's shares of them by `figures`.

    Prefill counts two operations a weight and position; decoding reads each weight once a token, in the bytes that it
    is kept in. Of the routed experts a token uses only those that are chosen for it.
    """
    device, dtype, config = model.device, model.dtype, model.config
    blocks, block_bytes = used_weights(model)
    tower = tower_weights(model)
    flops, rate = matmul_rate(device, dtype), copy_rate(device)
    patches = config.num_image_tokens * config.pixel_shuffle_factor**2
    prompt = 2 * (config.num_image_tokens * blocks + patches * tower)
    head = sum(weight.numel() * weight.element_size() for weight in model.lm_head.parameters())
    read = block_bytes + head
    first, decoding = figures[0].engine, figures[2].engine
    return Limits(flops, rate, prompt / first / flops, read * decoding / rate)


def tower_weights(model: Any) -> int:
    """How many of the tower's weights a patch goes through: not its text half, nor blocks behind the features'."""
    tower = model.vision_encoder.vision_model
    used = [tower.embeddings.patch_embedding, *blocks_up_to(tower, model.config.vision_feature_layer)]
    return sum(weight.numel() for module in used for weight in module.parameters())


def used_weights(model: Any) -> tuple[float, float]:
    """How many of the language blocks' weights a token goes through, and their bytes."""
    config = model.config
    numbers = read = 0.0
    for module in model.model.layers.modules():
        routed = isinstance(module, Experts | Int8Experts)
        share = config.num_experts_per_token / config.n_routed_experts if routed else 1.0
        for weight in module.parameters(recurse=False):
            numbers += share * weight.numel()
            read += share * weight.numel() * weight.element_size()
    return numbers, read
