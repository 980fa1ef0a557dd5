"""Rotary position embeddings (RoFormer, Su et al., 2021): positions become angles by which queries and keys turn.

The scaled variants (linear, dynamic, yarn, llama3) are transformers' own formulas, so a checkpoint that was
trained with one of them means the same here. This file knows positions, not tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

from sightline.config import LLMConfig


class RotaryEmbedding(nn.Module):
    """The cosines and sines of every position's angles, computed in fp32 whatever the model's dtype.

    Raises:
        ValueError: `rope_parameters` names a scaling that transformers does not know.
    """

    inv_freq: Tensor

    def __init__(self, config: LLMConfig):
        super().__init__()
        self.config = config
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        self.rope_type = config.rope_parameters["rope_type"]
        inv_freq, self.attention_scaling = self._frequencies()
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self.register_buffer("original_inv_freq", inv_freq.clone(), persistent=False)

    def _frequencies(self) -> tuple[Tensor, float]:
        if self.rope_type == "default":
            return self.compute_default_rope_parameters(self.config)
        if self.rope_type not in ROPE_INIT_FUNCTIONS:
            raise ValueError(f"rope_type={self.rope_type!r} is none of 'default', {sorted(ROPE_INIT_FUNCTIONS)}")
        return ROPE_INIT_FUNCTIONS[self.rope_type](self.config)

    @staticmethod
    def compute_default_rope_parameters(config: LLMConfig, device: Any = None, **_: Any) -> tuple[Tensor, float]:
        """theta^(-2i / d) for i in [0, d/2), section 3.2.2; transformers calls it when it rebuilds buffers."""
        rotated = int(config.head_dim * config.rope_parameters.get("partial_rotary_factor", 1.0))
        exponents = torch.arange(0, rotated, 2, dtype=torch.float32, device=device) / rotated
        return 1.0 / config.rope_parameters["rope_theta"] ** exponents, 1.0

    @torch.no_grad()
    @dynamic_rope_update
    def forward(
        self, x: Float[Tensor, ...], position_ids: Int[Tensor, "#batch seq"]
    ) -> tuple[Float[Tensor, "#batch seq rotated"], Float[Tensor, "#batch seq rotated"]]:
        """cos and sin in x's dtype; `rotated` is head_dim times the partial rotary factor."""
        # In half precision position 300 is already inexact. Autocast leaves products of elements as they are.
        angles = position_ids[..., None].float() * self.inv_freq.to(x.device).float()
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        return cos.to(x.dtype), sin.to(x.dtype)


def rotate(
    x: Float[Tensor, "batch any_heads seq head_dim"],
    cos: Float[Tensor, "#batch seq rotated"],
    sin: Float[Tensor, "#batch seq rotated"],
) -> Float[Tensor, "batch any_heads seq head_dim"]:
    """Turn the first `rotated` channels of each head by its position's angles; the rest pass through.

    Channel i pairs with channel i + rotated / 2 (the layout of Llama's released weights in transformers).
    """
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned
