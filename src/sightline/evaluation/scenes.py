"""Exact match on unseen pictures of the built-in world, by kind of question and language.

Each question is asked alone, greedily. The truth comes from the scene graph; this file only compares.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sightline.data.sample import Sample
from sightline.data.scenes import World

__all__ = ["Score", "evaluate_kind", "exact_match", "normalize", "wilson_interval"]


@dataclass
class Score:
    """Right answers out of `total`, and the first few wrong ones as (question, truth, answer)."""

    right: int = 0
    total: int = 0
    mistakes: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        return self.right / self.total if self.total else 0.0


def evaluate_kind(
    model: Any,
    processor: Any,
    world: World,
    kind: str,
    language: str,
    count: int,
    *,
    batch_size: int = 32,
    max_new_tokens: int = 96,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Score:
    """Ask `count` questions of one kind, numbers 0 to count - 1 of `world`."""
    score = Score()
    for numbers in _chunks(range(count), batch_size):
        asked = [world.question(number, kind, language) for number in numbers]
        given = answer_batch(model, processor, [sample for sample, _ in asked], max_new_tokens)
        for (sample, truth), answer in zip(asked, given, strict=True):
            right = exact_match(answer, truth)
            score.right += right
            score.total += 1
            if not right and len(score.mistakes) < 20:
                score.mistakes.append((sample["messages"][0]["content"][-1]["text"], truth, answer))
        on_batch(len(numbers))
    return score


def answer_batch(model: Any, processor: Any, samples: Sequence[Sample], max_new_tokens: int) -> list[str]:
    """Greedy answers to the first question of each sample."""
    inputs = processor.apply_chat_template(
        [sample["messages"][:1] for sample in samples],
        images=[sample["images"] for sample in samples],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(model.device)
    tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def exact_match(answer: str, truth: str) -> bool:
    """Whether the two are the same words: case, width, outer space and a final stop do not count."""
    return normalize(answer) == normalize(truth)


def normalize(text: str) -> str:
    """
    >>> normalize(" A red  Circle. ")
    'a red circle'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".。! ")


def wilson_interval(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson, 1927); (0, 1) when nothing was asked."""
    if total == 0:
        return 0.0, 1.0
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def _chunks(numbers: range, size: int) -> Iterator[range]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
