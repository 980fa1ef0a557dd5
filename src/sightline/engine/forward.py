"""The pass over the blocks for flat tokens: the model's arithmetic in few operations, on fused weights.

Rows are tokens of any sequences, one after the other. Which of them attend to which is `paged_attention`'s; what a
row means, and whose it is, nobody here knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F
from transformers.activations import ACT2FN

from sightline.config import LLMConfig
from sightline.engine.rope_table import rotate_
from sightline.engine.weights import FusedWeights, LayerWeights

__all__ = ["Finish", "Project", "Shape", "finish", "head", "project", "rms_norm", "run_blocks"]

Project = Callable[[LayerWeights, Tensor, Tensor, Tensor, "Shape"], Tensor]
Finish = Callable[[LayerWeights, Tensor, Tensor, "Shape"], Tensor]


@dataclass(frozen=True)
class Shape:
    """What all blocks have in common."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: Float32[Tensor, ""]  # a number would be made a tensor in each of its uses
    activation: Any

    @classmethod
    def of(cls, config: LLMConfig, device: torch.device) -> Shape:
        activation = F.silu if config.hidden_act == "silu" else ACT2FN[config.hidden_act]
        eps = torch.tensor(config.rms_norm_eps, device=device, dtype=torch.float32)
        return cls(config.num_attention_heads, config.num_key_value_heads, config.head_dim, eps, activation)


def rms_norm(
    x: Float[Tensor, "*rows size"], weight: Float[Tensor, " size"], eps: Float32[Tensor, ""]
) -> Float[Tensor, "*rows size"]:
    """`nn.attention.RMSNorm`, the statistics in fp32; half the operations of `F.rms_norm` on a CPU."""
    return (x * _inverse_rms(x, eps)).to(x.dtype).mul_(weight)


def _inverse_rms(x: Tensor, eps: Tensor) -> Float32[Tensor, "*rows 1"]:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return torch.addcmul(eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()


def project(
    layer: LayerWeights,
    hidden: Float[Tensor, "tokens hidden"],
    cos: Float[Tensor, "tokens 1 rotated"],
    sin: Float[Tensor, "tokens 1 rotated"],
    shape: Shape,
) -> Float[Tensor, "tokens all_heads head_dim"]:
    """Queries, keys and values of each token, in this order along the heads; the first two normed and turned."""
    normed = rms_norm(hidden, layer.input_norm, shape.eps)
    if layer.qkv is not None:
        flat = F.linear(normed, layer.qkv, layer.qkv_bias)
    else:
        attention = layer.block.self_attn
        flat = torch.cat([part(normed) for part in (attention.q_proj, attention.k_proj, attention.v_proj)], dim=-1)
    qkv = flat.view(len(hidden), -1, shape.head_dim)
    turning = qkv[:, : shape.heads + shape.kv_heads]
    if layer.q_norm is not None:
        assert layer.k_norm is not None
        turning.mul_(_inverse_rms(turning, shape.eps))
        turning[:, : shape.heads].mul_(layer.q_norm)
        turning[:, shape.heads :].mul_(layer.k_norm)
    rotate_(turning, cos, sin)
    return qkv


def finish(
    layer: LayerWeights, hidden: Float[Tensor, "tokens hidden"], attended: Tensor, shape: Shape
) -> Float[Tensor, "tokens hidden"]:
    """The block's output from its input and what its tokens attended to."""
    hidden = _add_attended(layer, hidden, attended)
    normed = rms_norm(hidden, layer.post_norm, shape.eps)
    if layer.gate_up is None or layer.down is None:
        update = layer.block.mlp(normed[None])
        return hidden + (update[0] if isinstance(update, tuple) else update)[0]
    gate, up = F.linear(normed, layer.gate_up).chunk(2, dim=-1)
    return torch.addmm(hidden, shape.activation(gate).mul_(up), layer.down)


def _add_attended(layer: LayerWeights, hidden: Tensor, attended: Tensor) -> Tensor:
    if layer.out is None:
        return hidden + layer.block.self_attn.o_proj(attended)
    hidden = torch.addmm(hidden, attended, layer.out)
    return hidden if layer.out_bias is None else hidden.add_(layer.out_bias)


def head(
    weights: FusedWeights, lm_head: Any, hidden: Float[Tensor, "rows hidden"], shape: Shape
) -> Float[Tensor, "rows vocab"]:
    """The last norm and the logits."""
    normed = rms_norm(hidden, weights.norm, shape.eps)
    return lm_head(normed) if weights.head is None else F.linear(normed, weights.head)


def run_blocks(
    layers: list[LayerWeights],
    hidden: Float[Tensor, "tokens hidden"],
    rope: Float[Tensor, "tokens 2 1 rotated"],
    shape: Shape,
    attend: Callable[[int, Tensor], Tensor],
    kept: Tensor | None = None,
    project: Project = project,
    finish: Finish = finish,
) -> Float[Tensor, "kept hidden"]:
    """The last block's output, of the rows `kept` (None: all). The others end with the last block's keys and values.

    `attend(layer, qkv)` stores the keys and values and gives the attended ones.
    """
    cos, sin = rope.unbind(1)
    for index, layer in enumerate(layers):
        attended = attend(index, project(layer, hidden, cos, sin, shape))
        if index == len(layers) - 1 and kept is not None:
            hidden, attended = hidden.index_select(0, kept), attended.index_select(0, kept)
            if not len(kept):
                return hidden
        hidden = finish(layer, hidden, attended, shape)
    return hidden
