"""What a word loses when part of a picture is hidden: the causal check beside attention.

A window of patches is painted over in the picture's mean colour, in pixels, because the tower mixes patches; then the
same answer is scored again (Zeiler and Fergus, 2014, section 4.2). What is shared between passes is computed once: the
other pictures' features, and keys and values of all that stands before the picture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from sightline.explain.forced import Forced
from sightline.nn.vlm import VLM

__all__ = ["MEMORY", "Windows", "batch_size", "score_hidden"]

MEMORY = 512 * 2**20  # bytes that a batch of hidden windows may take


@dataclass(frozen=True)
class Windows:
    """Squares of `size` x `size` patches, every `stride` patches, on a grid of `side` x `side`; all of it is covered.

    Raises:
        ValueError: a window that does not fit the grid, or a stride that would leave patches out.
    """

    side: int
    size: int
    stride: int

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.side:
            raise ValueError(f"a window is 1 to {self.side} patches wide, as the picture is, but not {self.size}")
        if not 1 <= self.stride <= self.size:
            raise ValueError(f"a stride is 1 to {self.size}, the window's width, but not {self.stride}")

    @classmethod
    def of(cls, side: int, size: int | None = None, stride: int | None = None) -> Windows:
        """A third of the picture wide and half overlapping, unless told: enough to hide an object, 49 at most."""
        size = max(1, side // 3) if size is None else size
        return cls(side, size, (size + 1) // 2 if stride is None else stride)

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Row and column of each window's first patch; the last ones end at the edge."""
        starts = [*range(0, self.side - self.size, self.stride), self.side - self.size]
        return [(row, col) for row in starts for col in starts]

    def hide(self, pixels: Tensor, corners: Sequence[tuple[int, int]]) -> Tensor:
        """`pixels` [3, height, width] once for each corner, that window in the mean colour."""
        patch = pixels.shape[-1] // self.side
        hidden = pixels.repeat(len(corners), 1, 1, 1)
        mean = pixels.mean(dim=(1, 2))[:, None, None]
        for picture, (row, col) in zip(hidden, corners, strict=True):
            top, left, width = row * patch, col * patch, self.size * patch
            picture[:, top : top + width, left : left + width] = mean
        return hidden

    def spread(self, values: Tensor) -> Tensor:
        """A value for each window [..., windows] as one for each patch [..., side, side]: the mean of those over it."""
        total = values.new_zeros(*values.shape[:-1], self.side, self.side)
        over = values.new_zeros(self.side, self.side)
        for index, (row, col) in enumerate(self.corners):
            place = (slice(row, row + self.size), slice(col, col + self.size))
            total[(..., *place)] += values[..., index, None, None]
            over[place] += 1
        return total / over


def score_hidden(
    model: VLM,
    forced: Forced,
    windows: Windows,
    memory: int = MEMORY,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Tensor, Tensor]:
    """Log probabilities of the answer's tokens: with nothing hidden [images, answer], and [images, windows, answer].

    One pass a window, as many at once as `memory` bytes hold; `on_progress` is told how many of how many are done.
    """
    at_once = batch_size(model.config, forced, memory)
    each, scores = len(windows.corners), []
    for image in range(len(forced.pixels)):
        rows: list[Tensor] = []
        for batch in _passes(model, forced, windows, image, at_once):
            rows += batch
            on_progress(image * each + len(rows) - 1, len(forced.pixels) * each)
        scores.append(torch.stack(rows))
    # Nothing hidden is a row of each picture's own batches: in bfloat16 another batch would give another value.
    found = torch.stack(scores)
    return found[:, 0], found[:, 1:]


def _passes(model: VLM, forced: Forced, windows: Windows, image: int, at_once: int) -> Iterator[Tensor]:
    """First with nothing hidden, then with each window of picture number `image`: [rows, answer], batch by batch."""
    places, pixels = forced.places[image], forced.pixels[image]
    start = int(places[0])
    before = DynamicCache()
    if start:
        model.model(inputs_embeds=forced.embeddings[:, :start], past_key_values=before)
    corners = windows.corners
    for first in range(0, len(corners) + 1, at_once):
        hidden = windows.hide(pixels, corners[max(0, first - 1) : first + at_once - 1])
        rows = hidden if first else torch.cat([pixels[None], hidden])
        features = model.vision_proj(model.encode_images(rows).to(forced.embeddings.dtype))
        embeddings = forced.embeddings.repeat(len(rows), 1, 1)
        embeddings[:, places] = features.to(embeddings.dtype)
        cache = None
        if start:
            cache = copy.deepcopy(before)
            cache.batch_repeat_interleave(len(rows))
        states = model.model(
            inputs_embeds=embeddings[:, start:-1], past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state
        yield forced.log_probabilities(model, states[:, forced.prompt - 1 - start :])


def batch_size(config: Any, forced: Forced, memory: int) -> int:
    """How many rows `memory` bytes hold, at least one, by what a block, the tower and the logits keep at a time."""
    tower = config.vision_config
    seq, patches = forced.ids.shape[1], (tower.image_size // tower.patch_size) ** 2
    experts = config.num_experts_per_token if config.use_moe else 1
    width = 6 * config.hidden_size + 3 * experts * config.intermediate_size
    width += 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    text = seq * width + config.num_attention_heads * seq**2
    vision = patches * (6 * tower.hidden_size + 2 * tower.intermediate_size) + tower.num_attention_heads * patches**2
    scalars = text + vision + forced.pixels[0].numel()
    logits = 8 * len(forced.answer) * config.vocab_size  # computed in the model's dtype, judged in fp32
    return max(1, memory // (scalars * forced.embeddings.itemsize + logits))
