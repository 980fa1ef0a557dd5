"""Put questions to a model: each alone, greedily, many at once; an answer comes with how sure the model was of it.

Rows of a batch have as many pictures each and nearly the same length, so that little is padding; in float32 the
answers are those of one at a time. It knows tokens and pictures, not what is right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.engine.prompts import PromptReader
from sightline.evaluation.tasks import Question

__all__ = ["Reply", "answer", "by_room", "fingerprint", "groups", "preparation"]

Prompt = dict[str, Tensor]

LEAST, MOST = 64, 1024  # tokens that an answer may have, by what its truth needs
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes an element
# Of a config, what says where a model is from and how it is held, but not what it computes.
_BESIDE = ("transformers_version", "_name_or_path", "dtype", "architectures", "freeze_vision")


class Reply(NamedTuple):
    """What a model said, and the probability that it gave to exactly that, its end included."""

    text: str
    sure: float


def answer(
    model: Any, processor: Any, questions: Sequence[Question], batch_size: int, max_new_tokens: int
) -> Iterator[list[tuple[Question, Reply]]]:
    """Greedy answers, a batch at a time; longest prompts first, so that what will not fit fails early.

    Raises:
        FileNotFoundError, ValueError: naming the question whose picture cannot be opened, or whose prompt cannot be
            read or leaves the model no place for an answer.
    """
    reader = PromptReader(processor)
    prompts = [_prompt(reader, question) for question in questions]
    limit = getattr(model.config, "max_position_embeddings", None)
    sizes = [(len(prompt.get("pixel_values", ())), prompt["input_ids"].shape[1]) for prompt in prompts]
    for question, (_, length) in zip(questions, sizes, strict=True):
        if limit is not None and length >= limit:
            raise ValueError(
                f"{question.where}: the prompt has {length} tokens, but the model's max_position_embeddings "
                f"is {limit}: shorten it, or leave it out"
            )
    for group in groups(sizes, batch_size, None if limit is None else limit - max_new_tokens):
        replies = _generate(model, processor, [prompts[index] for index in group], max_new_tokens)
        yield [(questions[index], reply) for index, reply in zip(group, replies, strict=True)]


def by_room(
    model: Any, processor: Any, questions: Sequence[Question], max_new_tokens: int | None, least: int | None = None
) -> list[tuple[int, list[Question]]]:
    """The questions with the tokens that their answers may have: `max_new_tokens`, or what their truths need.

    That is twice the longest truth's, as a power of two between `least` (None: `LEAST`) and `MOST`, so that questions
    of like answers are asked together, and a model that never ends costs no more than it must; and a quarter of the
    model's positions at most, or prompts would have no room beside it to be padded to one length.
    """
    if max_new_tokens is not None:
        return [(max_new_tokens, list(questions))]
    reader = PromptReader(processor)
    most = min(MOST, max(1, getattr(model.config, "max_position_embeddings", 4 * MOST) // 4))
    found: dict[int, list[Question]] = {}
    for question in questions:
        longest = max(len(reader.text_ids(truth)) for truth in question.truths)
        needed = max(least or LEAST, 1 << max(0, 2 * longest - 1).bit_length())
        found.setdefault(min(most, needed), []).append(question)
    return sorted(found.items(), reverse=True, key=lambda pair: pair[0])


def groups(sizes: Sequence[tuple[int, int]], batch_size: int, room: int | None = None) -> list[list[int]]:
    """Indices of `sizes` (pictures, tokens) in batches of like rows, the largest first.

    A row that is padded reaches the model's last position sooner than it would alone: longer than `room`, rows
    go together only where they are equally long.

    >>> groups([(1, 20), (1, 30), (2, 40), (1, 21)], batch_size=2)
    [[2], [1, 3], [0]]
    """
    found: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda index: sizes[index], reverse=True):
        pictures, tokens = sizes[index]
        first = sizes[found[-1][0]] if found else None
        alike = first is not None and first[0] == pictures
        fits = alike and (room is None or first[1] <= room or first[1] == tokens)  # type: ignore[index]
        if fits and len(found[-1]) < batch_size:
            found[-1].append(index)
        else:
            found.append([index])
    return found


def fingerprint(model: Any, samples: int = 256) -> str:
    """A hash of the weights' names and shapes, up to `samples` values of each and a checksum of all: other weights,
    another fingerprint.
    """
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // samples)].float().cpu()
        digest.update(f"{name} {tuple(weight.shape)} {_checksum(flat)}".encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()[:16]


def _checksum(flat: Tensor) -> int | None:
    """The sum of the bit patterns, which no order or number of threads changes; None of what is no plain tensor."""
    if type(flat) is not Tensor or flat.element_size() not in _INTEGERS:
        return None
    return int(flat.view(_INTEGERS[flat.element_size()]).sum(dtype=torch.int64))


def preparation(model: Any, processor: Any) -> str:
    """A hash of what answers depend on beside the weights: the model's config, tokenizer, template, preprocessing and
    generation config.
    """
    tokenizer = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    of_tokenizer = {name: part for name, part in tokenizer.items() if name not in ("padding", "truncation")}
    configs = [_computing(config.to_dict()) for config in (model.config, model.generation_config)]
    parts = [of_tokenizer, processor.chat_template, processor.image_processor.to_dict(), *configs]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _computing(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config, and of those in it, that decide what is computed."""
    kept = {name: value for name, value in config.items() if name not in _BESIDE}
    return {name: _computing(value) if isinstance(value, dict) else value for name, value in kept.items()}


def _prompt(reader: PromptReader, question: Question) -> Prompt:
    """`input_ids` [1, seq] and, with pictures, `pixel_values` [images, 3, height, width]."""
    messages = question.opened()
    try:
        encoded = reader.tensors(messages)
    except ValueError as error:
        raise ValueError(f"{question.where}: {str(error).removeprefix('sample 0, ')}") from None
    return {name: encoded[name] for name in ("input_ids", "pixel_values") if name in encoded}


def _generate(model: Any, processor: Any, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Reply]:
    rows = [prompt["input_ids"][0] for prompt in prompts]
    longest = max(map(len, rows))
    pad = processor.tokenizer.pad_token_id
    inputs = {
        "input_ids": torch.stack([F.pad(row, (longest - len(row), 0), value=pad or 0) for row in rows]),
        "attention_mask": torch.stack([F.pad(torch.ones_like(row), (longest - len(row), 0)) for row in rows]),
    }
    if "pixel_values" in prompts[0]:
        inputs["pixel_values"] = torch.cat([prompt["pixel_values"] for prompt in prompts])
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    sureness = _Sureness(longest, getattr(getattr(model, "generation_config", None), "eos_token_id", None))
    tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, logits_processor=[sureness])
    texts = processor.batch_decode(tokens[:, longest:], skip_special_tokens=True)
    return [Reply(text, sure) for text, sure in zip(texts, sureness.of(len(texts)), strict=True)]


class _Sureness:
    """Adds up the log probability of the likeliest token of each step, for every row until it has ended.

    As a logits processor it needs no more memory than a number a row, where `generate` would keep all scores.
    """

    def __init__(self, prompt: int, ends: int | list[int] | None):
        self.prompt = prompt
        self.ends = torch.tensor([] if ends is None else ends, dtype=torch.long).flatten()
        self.total: Tensor | None = None  # [batch]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`input_ids` [batch, seq] with what is written so far; `scores` [batch, vocabulary] stay as they are."""
        likeliest = scores.float().log_softmax(dim=-1).amax(dim=-1)
        over = torch.isin(input_ids[:, self.prompt :], self.ends.to(input_ids.device)).any(dim=1)
        step = likeliest.masked_fill(over, 0.0)
        self.total = step if self.total is None else self.total + step
        return scores

    def of(self, rows: int) -> list[float]:
        """The probability of each row's answer."""
        return [1.0] * rows if self.total is None else self.total.exp().tolist()
