"""The same questions put to the engine and to transformers' `generate`, as their users would put them.

Both get messages and give tokens: reading the picture, the prompt and the answer are all in the time. It measures
nothing and prints nothing.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from sightline.data.scenes.world import World
from sightline.engine.engine import Engine

__all__ = ["Messages", "Peer", "another", "endless", "engine_answers", "questions"]

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


class endless:
    """Inside it, no answer of `model` ends before its limit, so that all are equally long."""

    def __init__(self, model: Any):
        self._settings, self._never = model.generation_config, model.config.image_token_id

    def __enter__(self) -> None:
        self._ends = self._settings.eos_token_id
        self._settings.eos_token_id = self._never  # the placeholder, which is never generated

    def __exit__(self, *_: object) -> None:
        self._settings.eos_token_id = self._ends


class Peer:
    """transformers' `generate` over the same network and weights."""

    def __init__(self, model: Any, processor: Any):
        self.model, self.processor = model, processor

    def answer(self, conversations: Sequence[Messages], max_new_tokens: int) -> list[list[int]]:
        """The new tokens of each, greedy, as one padded batch."""
        inputs = self.processor.apply_chat_template(
            list(conversations), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(self.model.device)
        tokens = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        return tokens[:, inputs["input_ids"].shape[1] :].tolist()


def engine_answers(engine: Engine, conversations: Sequence[Messages], max_new_tokens: int) -> list[list[int]]:
    """As `Peer.answer`, by the engine."""
    return [list(reply.tokens) for reply in engine.batch(conversations, max_new_tokens=max_new_tokens)]
