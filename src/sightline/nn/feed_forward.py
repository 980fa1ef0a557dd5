"""The dense feed-forward of a block: SwiGLU (Shazeer, 2020). It knows one token at a time, and no other."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import ACT2FN

from sightline.config import LLMConfig


class FeedForward(nn.Module):
    """down(act(gate(x)) * up(x)), each projection without a bias."""

    def __init__(self, config: LLMConfig, intermediate_size: int | None = None):
        super().__init__()
        inner = intermediate_size or config.intermediate_size
        self.gate_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.down_proj = nn.Linear(inner, config.hidden_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch hidden"]:
        return self.down_proj(self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))
