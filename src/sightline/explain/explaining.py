"""`explain`: what a model looked at for every word of an answer, and what each word loses when it cannot look there.

It brings tokens, the two maps and words together. How they are shown is not its business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sightline.chat import read_conversation
from sightline.engine.prompts import PromptReader
from sightline.explain.attention import attend, roll_out
from sightline.explain.explanation import Explanation, Region, Window, Word
from sightline.explain.forced import check_length, force
from sightline.explain.occlusion import MEMORY, Windows, score_hidden
from sightline.explain.seen import WHOLE, crops, seen_region
from sightline.explain.words import Span, words_of
from sightline.images import open_image, to_rgb
from sightline.nn.vlm import VLM

__all__ = ["TooLarge", "explain"]

Messages = Sequence[dict[str, Any]]


class TooLarge(ValueError):
    """The weights of attention do not fit into the memory that they may take."""


@torch.inference_mode()
def explain(
    model: VLM,
    processor: Any,
    messages: Messages,
    answer: str | Sequence[int] | None = None,
    *,
    occlusion: bool = True,
    layer: int | None = None,
    head: int | None = None,
    rollout: bool = False,
    window: int | None = None,
    stride: int | None = None,
    max_new_tokens: int = 128,
    memory: int = MEMORY,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Explanation:
    """The patches that each word of the answer to `messages` attended to, and what it loses when they are hidden.

    Nothing of `model` is switched or written to, so it may be in use elsewhere at the same time.

    Args:
        model: in eval mode.
        messages: a conversation up to the user's turn, with at least one picture in it.
        answer: its text, or its token ids; None: the model's own, greedy.
        occlusion: False leaves the second map out. The first costs one pass over prompt and answer; the second as many
            as there are windows, for each picture.
        layer, head: the attention of one layer or query head, counted from 0; None: the mean over all.
        rollout: attention followed through all layers (Abnar and Zuidema, 2020) instead.
        window, stride: sides of what is hidden and of the steps between, in patches; a third of the picture and half
            of that where not given.
        max_new_tokens: of an answer that is generated.
        memory: bytes that the weights of attention may take, and then the passes of the second map, at once.
        on_progress: told how many of how many windows are done.

    Raises:
        FileNotFoundError, ValueError: there is no picture, or one that cannot be opened; the answer is empty or too
            long, or so long that the weights of attention do not fit into `memory`; there is no such layer or head, or
            one is asked for of a rollout; a window or stride does not fit.
    """
    config = model.config
    _check("layer", layer, config.num_hidden_layers, rollout)
    _check("head", head, config.num_attention_heads, rollout)
    windows = Windows.of(math.isqrt(config.num_image_tokens), window, stride)
    inputs = PromptReader(processor).tensors(messages).to(model.device)
    if "pixel_values" not in inputs:
        raise ValueError("there is no picture in the messages, so there is nothing to look at")
    ids = _answer_ids(model, processor, messages, inputs, answer, max_new_tokens)
    check_length(model, inputs, ids)  # before each token is looked at
    text, spans = words_of(ids, partial(processor.tokenizer.decode, clean_up_tokenization_spaces=False))
    if not spans:
        raise ValueError(f"the answer {text!r} holds no word: give another one to explain")
    _check_memory(config, inputs["input_ids"].shape[1] + len(ids) - 1, None if rollout else len(ids), memory)
    forced = force(model, inputs, ids)
    log_probabilities, weights = roll_out(model, forced) if rollout else attend(model, forced, layer, head)
    scores = None
    if occlusion:
        scores = tuple(score.cpu() for score in score_hidden(model, forced, windows, memory, on_progress))
    return Explanation(
        answer=text,
        words=tuple(_word(text, span, ids, log_probabilities.cpu(), weights.cpu(), windows, scores) for span in spans),
        regions=_regions(processor, messages),
        attention_from=_source(layer, head, rollout, config),
        window=windows.size if occlusion else None,
        stride=windows.stride if occlusion else None,
    )


def _check(name: str, number: int | None, count: int, rollout: bool) -> None:
    if number is None:
        return
    if rollout:
        raise ValueError(f"a rollout goes through all layers and heads: leave {name} out")
    if not 0 <= number < count:
        raise ValueError(f"there is no {name} {number}: the model has {count}, from 0 to {count - 1}")


def _check_memory(config: Any, length: int, answer: int | None, memory: int) -> None:
    """Whether one layer's weights fit: of the answer's rows, or of all where they are rolled out (None)."""
    needed = 4 * config.num_attention_heads * length * (length if answer is None else answer)
    if needed > memory:
        shorter = "shorten the messages or leave rollout out" if answer is None else "shorten the answer"
        raise TooLarge(f"the weights of attention take {needed} bytes of memory, above {memory}: {shorter}")


def _source(layer: int | None, head: int | None, rollout: bool, config: Any) -> str:
    if rollout:
        return f"rollout through {config.num_hidden_layers} layers"
    layers = f"mean over {config.num_hidden_layers} layers" if layer is None else f"layer {layer}"
    return f"{layers}, " + (f"mean over {config.num_attention_heads} heads" if head is None else f"head {head}")


def _answer_ids(
    model: VLM, processor: Any, messages: Messages, inputs: Any, answer: str | Sequence[int] | None, most: int
) -> list[int]:
    """The answer's tokens, without the control tokens that end it."""
    if isinstance(answer, str):
        return PromptReader(processor).answer_ids(messages, answer) if answer.strip() else []
    if answer is None:
        tokens = model.generate(**inputs, max_new_tokens=most, do_sample=False)[0]
        answer = tokens[inputs["input_ids"].shape[1] :].tolist()
    ids, control = list(answer), set(processor.tokenizer.all_special_ids)
    while ids and ids[-1] in control:
        ids.pop()
    return ids


def _word(
    text: str,
    span: Span,
    ids: list[int],
    log_probabilities: Tensor,
    weights: Tensor,
    windows: Windows,
    scores: Any,
) -> Word:
    own = slice(span.first, span.last)
    side = windows.side
    word = {
        "text": text[span.start : span.end],
        "start": span.start,
        "end": span.end,
        "token_ids": tuple(ids[own]),
        "log_probability": float(log_probabilities[own].sum()),
        "attention": weights[own].mean(0).unflatten(-1, (side, side)).numpy(),
    }
    if scores is not None:
        seen, hidden = (score[..., own].sum(-1) for score in scores)
        lost = seen.exp()[:, None] - hidden.exp()
        word["occlusion"] = windows.spread(lost).numpy()
        image, index = divmod(int(lost.argmax()), len(windows.corners))
        word["log_probability"] = float(seen[image])  # in the passes of what is lost of it
        word["worst"] = Window(image, *windows.corners[index], float(hidden[image, index]))
    return Word(**word)


def _regions(processor: Any, messages: Messages) -> tuple[Region, ...]:
    pictures = read_conversation(messages).images
    if not crops(processor.image_processor):
        return (WHOLE,) * len(pictures)
    return tuple(seen_region(processor.image_processor, to_rgb(open_image(picture)).size) for picture in pictures)
