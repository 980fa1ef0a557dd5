"""Cosines and sines of every position, computed once by the model's own rotary embedding, and the turn itself.

A row is found by position and, for longrope alone, by how long the sequence was when the token came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["RopeTable", "rotate_"]

_FIRST_ROWS = 1024


class RopeTable:
    """`table[row]` is `[2, 1, rotated]`: cosines, and sines as `rotate_` takes them.

    It grows to the next power of two, and up to `max_position_embeddings`, beyond which no sequence goes. Up to there
    dynamic scaling scales nothing.
    """

    table: Float[Tensor, "rows 2 1 rotated"]

    def __init__(self, rotary: Any, like: Tensor):
        self._rotary, self._like = rotary, like
        self._limit = rotary.config.max_position_embeddings
        self._short = 0
        if rotary.rope_type == "longrope":
            self._short = rotary.config.rope_parameters["original_max_position_embeddings"]
        self.table = self._rows(1)
        self._reach = 0

    def rows(self, start: int, end: int, prompt_length: int) -> Sequence[int]:
        """Rows of the positions `start` .. `end` of a sequence whose prompt has `prompt_length` tokens.

        Longrope has one set of frequencies for sequences within the original length and one for longer ones. As in
        `generate`, what counts is the length at hand when a token comes: a prompt comes whole, then token by token.
        """
        if end > self._reach:
            self._grow(end)
        if not self._short:
            return range(start, end)
        lengths = ((place, max(prompt_length, place + 1)) for place in range(start, end))
        return [place + self._short if length > self._short else place for place, length in lengths]

    def _grow(self, end: int) -> None:
        assert end <= self._limit, f"{end} tokens, but max_position_embeddings is {self._limit}"
        self._reach = min(max(1 << (end - 1).bit_length(), _FIRST_ROWS), self._limit)
        table = self._rows(max(self._reach, self._short + 1))
        self.table = torch.cat((self._rows(self._short), table)) if self._short else table

    def _rows(self, count: int) -> Tensor:
        # Not under inference_mode: the embedding keeps some of what it computes, and may be trained again.
        with torch.inference_mode(False), torch.no_grad():
            cos, sin = self._rotary(self._like, torch.arange(count, device=self._like.device)[None])
            first, second = sin.chunk(2, dim=-1)
            return torch.stack((cos[0], torch.cat((-first, second), dim=-1)[0]), dim=1).unsqueeze(2)


def rotate_(
    x: Float[Tensor, "tokens any_heads head_dim"],
    cos: Float[Tensor, "tokens 1 rotated"],
    sin: Float[Tensor, "tokens 1 rotated"],
) -> None:
    """`nn.rope.rotate` in place, the first half of `sin` negated: (a, b) becomes (a cos - b sin, b cos + a sin)."""
    turned = x[..., : cos.shape[-1]]
    other = turned.roll(cos.shape[-1] // 2, -1)
    turned.mul_(cos).addcmul_(other, sin)
