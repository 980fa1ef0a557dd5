"""The same questions put to the engine and to transformers' `generate`, as their users would put them.

Both get messages and give tokens: reading the picture, the prompt and the answer are all in the time. It measures
nothing and prints nothing.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sightline.data.scenes.world import World
from sightline.engine.engine import Engine
from sightline.processor import VLMProcessor

__all__ = ["Messages", "another", "endless", "engine_answers", "questions", "transformers_answers"]

Messages = list[dict[str, Any]]
TEXTS = ("Describe the picture.", "What is at the top left?", "How many objects are there?", "图片里有什么？")


def questions(side: int, seed: int = 0) -> Iterator[Messages]:
    """Conversations without end, each about another picture of the built-in world."""
    world = World(seed=seed, split="test", image_size=side)
    for index in itertools.count():
        yield _ask(world.sample(index)["images"][0], TEXTS[index % len(TEXTS)])


def _ask(picture: Any, text: str) -> Messages:
    return [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": text}]}]


def another(messages: Messages) -> Messages:
    """Another question about the same picture."""
    asked = copy.deepcopy(messages)
    asked[0]["content"][1]["text"] = "Is there anything blue?"
    return asked


@contextmanager
def endless(model: Any) -> Iterator[None]:
    """Inside it, no answer of `model` ends before its limit, so that all are equally long."""
    settings = model.generation_config
    ends, settings.eos_token_id = settings.eos_token_id, model.config.image_token_id  # which is never generated
    try:
        yield
    finally:
        settings.eos_token_id = ends


def engine_answers(engine: Engine, conversations: Sequence[Messages], max_new_tokens: int) -> list[list[int]]:
    """The new tokens of each, greedy."""
    return [list(reply.tokens) for reply in engine.batch(conversations, max_new_tokens=max_new_tokens)]


def transformers_answers(
    model: Any, processor: Any, conversations: Sequence[Messages], max_new_tokens: int
) -> list[list[int]]:
    """The same by transformers' `generate`, over the same network and weights, as one padded batch."""
    # Ours pads on the left by itself.
    padded = {} if isinstance(processor, VLMProcessor) else {"padding": True, "padding_side": "left"}
    inputs = processor.apply_chat_template(
        list(conversations),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=padded,
    ).to(model.device)
    tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return tokens[:, inputs["input_ids"].shape[1] :].tolist()
