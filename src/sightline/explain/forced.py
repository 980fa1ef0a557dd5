"""A prompt and its answer as one row of tokens, teacher-forced: `Forced`.

Both maps ask the same thing of it, what probability each token of the answer has at its place. It knows ids and
tensors, neither text nor maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sightline.nn.fusion import find_runs
from sightline.nn.vlm import VLM

__all__ = ["Forced", "TooLong", "check_length", "force"]


class TooLong(ValueError):
    """Prompt and answer together have more tokens than the model has positions."""


@dataclass(frozen=True)
class Forced:
    """`ids` [1, seq], the first `prompt` of which are the prompt's, with all their embeddings [1, seq, hidden].

    `places` [images, patches] are the positions of the pictures' tokens, `pixels` [images, 3, height, width].
    """

    ids: Tensor
    prompt: int
    embeddings: Tensor
    places: Tensor
    pixels: Tensor

    @property
    def answer(self) -> Tensor:
        """The answer's ids [answer]."""
        return self.ids[0, self.prompt :]

    def log_probabilities(self, model: VLM, states: Tensor) -> Tensor:
        """Of each token of the answer, from the states that predict it [batch, answer, hidden]: [batch, answer]."""
        logits = model.lm_head(states).float()
        chosen = logits.gather(-1, self.answer.expand(len(states), -1)[..., None])[..., 0]
        return chosen - logits.logsumexp(-1)


def check_length(model: VLM, inputs: Any, answer: Sequence[int]) -> None:
    """Raise TooLong where the prompt `inputs` and `answer` are longer than the model's positions reach."""
    length, limit = inputs["input_ids"].shape[1] + len(answer), model.config.max_position_embeddings
    if length > limit:
        raise TooLong(
            f"prompt and answer have {length} tokens, but the model's max_position_embeddings is {limit}: "
            "shorten them or send fewer images"
        )


def force(model: VLM, inputs: Any, answer: Sequence[int]) -> Forced:
    """Put `answer` behind the processed prompt `inputs` of one conversation with pictures.

    Raises:
        TooLong: prompt and answer are longer than the model's positions reach.
    """
    check_length(model, inputs, answer)
    ids = torch.cat([inputs["input_ids"], torch.tensor([list(answer)], device=model.device)], dim=1)
    pixels = inputs["pixel_values"].flatten(0, -4)
    embeddings = model.count_vision_proj(ids, model.model.embed_tokens(ids), model.encode_images(pixels))
    # An answer holds no placeholder: generation never chooses it, and typed text never becomes it.
    runs = find_runs(ids, model.config.image_token_id, model.config.num_image_tokens).mask[0]
    places = runs.nonzero().view(len(pixels), model.config.num_image_tokens)
    return Forced(ids, inputs["input_ids"].shape[1], embeddings, places, pixels)
