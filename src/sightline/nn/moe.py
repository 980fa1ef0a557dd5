"""The mixture of experts: a router picks `top_k` of the routed experts for each token; shared ones serve all.

The router scores in fp32 whatever the model runs in (Switch Transformer, section 2.4). The experts' weights
are stacked as transformers 5 stacks them, so its `eager`, `batched_mm` and `grouped_mm` all run here; on disk
they are single experts, as in every published checkpoint. This file knows nothing of losses, statistics or
the update of the selection bias (`balance.py`, `router_statistics.py`): it hands them a `Routing`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Concatenate, MergeModulelist, WeightConverter, WeightRenaming
from transformers.integrations import use_experts_implementation
from transformers.integrations.moe import ExpertsInterface

from sightline.config import LLMConfig
from sightline.nn.feed_forward import FeedForward


class Routing(NamedTuple):
    """What one router decided: the raw scores of every expert, and the ids of those chosen."""

    logits: Float32[Tensor, "tokens experts"]
    experts: Int64[Tensor, "tokens top_k"]


class Router(nn.Module):
    """Scores each token against each expert and chooses `num_experts_per_token` of them."""

    e_score_correction_bias: Tensor | None

    def __init__(self, config: LLMConfig):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        bias = torch.zeros(config.n_routed_experts, dtype=torch.float32) if config.use_router_bias else None
        self.register_buffer("e_score_correction_bias", bias)
        nn.init.normal_(self.weight, std=config.initializer_range)

    def forward(self, hidden_states: Float[Tensor, "tokens hidden"]) -> tuple[Routing, Float32[Tensor, "tokens top_k"]]:
        """The routing, and the weight of each chosen expert in the token's output."""
        with torch.autocast(hidden_states.device.type, enabled=False):
            logits = F.linear(hidden_states.float(), self.weight.float())
            scores = router_scores(logits, self.config.scoring_func)
            experts = self._choose(scores.detach())
            return Routing(logits, experts), self._weights(logits, scores, experts)

    def _choose(self, scores: Float32[Tensor, "tokens experts"]) -> Int64[Tensor, "tokens top_k"]:
        if self.e_score_correction_bias is not None:
            # The bias steers the choice and never the weights (DeepSeek-V3, eq. 16).
            scores = scores + self.e_score_correction_bias.float()
        if self.config.n_group > 1:
            scores = limit_to_groups(scores, self.config)
        return scores.topk(self.config.num_experts_per_token, dim=-1).indices

    def _weights(
        self,
        logits: Float32[Tensor, "tokens experts"],
        scores: Float32[Tensor, "tokens experts"],
        experts: Int64[Tensor, "tokens top_k"],
    ) -> Float32[Tensor, "tokens top_k"]:
        if self.config.softmax_after_topk:
            weights = logits.gather(-1, experts).softmax(-1)
        else:
            weights = scores.gather(-1, experts)
        if self.config.norm_topk_prob:
            # Sigmoid scores may all underflow; softmax ones never sum to so little.
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return weights * self.config.routed_scaling_factor


def router_scores(logits: Float32[Tensor, "*tokens experts"], scoring_func: str) -> Float32[Tensor, "*tokens experts"]:
    """How much each token likes each expert: softmax (they compete) or sigmoid (they do not)."""
    return logits.sigmoid() if scoring_func == "sigmoid" else logits.softmax(-1)


def limit_to_groups(scores: Float32[Tensor, "tokens experts"], config: LLMConfig) -> Float32[Tensor, "tokens experts"]:
    """Scores with -inf outside the token's best `topk_group` groups of experts.

    A group is as good as its best expert where experts compete by softmax (DeepSeek-V2, 2.2.2), and as the
    sum of its two best where they score by sigmoid (DeepSeek-V3's published router).
    """
    grouped = scores.unflatten(-1, (config.n_group, -1))
    best = 1 if config.scoring_func == "softmax" else min(2, grouped.shape[-1])
    kept = grouped.topk(best, dim=-1).values.sum(-1).topk(config.topk_group, dim=-1).indices
    dropped = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter(-1, kept, False)
    return grouped.masked_fill(dropped[..., None], float("-inf")).flatten(-2)


class _WeightsIn:
    """`Experts` with its weights cast to another dtype; everything else is the original's."""

    def __init__(self, experts: Experts, dtype: torch.dtype):
        self.gate_up_proj = experts.gate_up_proj.to(dtype)
        self.down_proj = experts.down_proj.to(dtype)
        self._experts = experts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._experts, name)


class _Interface(ExpertsInterface):
    """transformers' implementations by name, with the two things they leave to the caller."""

    def get_interface(self, experts_implementation: str | None, default: Callable) -> Callable:
        chosen = super().get_interface(experts_implementation, default)  # type: ignore[arg-type]
        return partial(_run, chosen, default, experts_implementation == "grouped_mm")


def _run(
    chosen: Callable,
    eager: Callable,
    grouped: bool,
    experts: Experts,
    hidden_states: Tensor,
    *routing: Tensor,
) -> Tensor:
    # The kernel behind grouped_mm wants rows of 16 bytes: 8 numbers of bf16.
    run = eager if grouped and not experts.fits_grouped_mm else chosen
    device = hidden_states.device.type
    if not torch.is_autocast_enabled(device):
        return run(experts, hidden_states, *routing)
    # grouped_mm knows no autocast: it would multiply in the weights' fp32.
    dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        return run(_WeightsIn(experts, dtype), hidden_states.to(dtype), *routing)


@use_experts_implementation(experts_interface=_Interface())
class Experts(nn.Module):
    """The routed experts' SwiGLUs, stacked: `gate_up_proj [E, 2I, H]` (gate first), `down_proj [E, H, I]`."""

    _apply_gate: Callable[[Tensor], Tensor]  # the decorator adds it: act(gate) * up

    def __init__(self, config: LLMConfig):
        super().__init__()
        self.num_experts = config.n_routed_experts
        inner = config.moe_intermediate_size
        assert inner is not None
        self.gate_up_proj = nn.Parameter(torch.empty(self.num_experts, 2 * inner, config.hidden_size))
        self.down_proj = nn.Parameter(torch.empty(self.num_experts, config.hidden_size, inner))
        self.act_fn = ACT2FN[config.hidden_act]
        self.fits_grouped_mm = inner % 8 == 0 and config.hidden_size % 8 == 0
        nn.init.normal_(self.gate_up_proj, std=config.initializer_range)
        nn.init.normal_(self.down_proj, std=config.initializer_range)

    def forward(
        self,
        hidden_states: Float[Tensor, "tokens hidden"],
        experts: Int64[Tensor, "tokens top_k"],
        weights: Float[Tensor, "tokens top_k"],
    ) -> Float[Tensor, "tokens hidden"]:
        """The eager formula (`one_at_a_time`)."""

        # Not a method: under autocast `self` stands for the experts with other weights (`_WeightsIn`).
        def run(expert: int, x: Tensor) -> Tensor:
            gate_up = F.linear(x, self.gate_up_proj[expert])
            return F.linear(self._apply_gate(gate_up), self.down_proj[expert])

        return one_at_a_time(hidden_states, experts, weights, run)


def one_at_a_time(
    hidden_states: Float[Tensor, "tokens hidden"],
    experts: Int64[Tensor, "tokens top_k"],
    weights: Float[Tensor, "tokens top_k"],
    run: Callable[[int, Tensor], Tensor],
) -> Float[Tensor, "tokens hidden"]:
    """The sum over each token's chosen experts of weight * `run(expert, token)`, an expert's tokens together."""
    total = torch.zeros_like(hidden_states, dtype=torch.promote_types(hidden_states.dtype, weights.dtype))
    for expert in experts.unique().tolist():
        token, rank = torch.where(experts == expert)
        out = run(expert, hidden_states[token])
        total.index_add_(0, token, (out * weights[token, rank, None]).to(total.dtype))
    return total.to(hidden_states.dtype)


class MixtureOfExperts(nn.Module):
    """The sparse feed-forward of a block; names and arithmetic follow transformers' Glm4Moe."""

    def __init__(self, config: LLMConfig):
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config)
        self.shared_experts = None
        if config.n_shared_experts:
            assert config.moe_intermediate_size is not None
            self.shared_experts = FeedForward(config, config.moe_intermediate_size * config.n_shared_experts)

    def forward(
        self, hidden_states: Float[Tensor, "batch seq hidden"]
    ) -> tuple[Float[Tensor, "batch seq hidden"], Routing]:
        tokens = hidden_states.flatten(0, 1)
        routing, weights = self.gate(tokens)
        out = self.experts(tokens, routing.experts, weights).view_as(hidden_states)
        if self.shared_experts is not None:
            out = out + self.shared_experts(hidden_states)
        return out, routing


def _single_experts_on_disk() -> list[WeightConverter | WeightRenaming]:
    """How transformers joins a checkpoint's single experts into stacks, and splits them again to save."""
    return [
        WeightConverter(
            source_patterns=["mlp.experts.*.gate_proj.weight", "mlp.experts.*.up_proj.weight"],
            target_patterns="mlp.experts.gate_up_proj",
            operations=[MergeModulelist(dim=0), Concatenate(dim=1)],
        ),
        WeightConverter(
            source_patterns="mlp.experts.*.down_proj.weight",
            target_patterns="mlp.experts.down_proj",
            operations=[MergeModulelist(dim=0)],
        ),
    ]


for _model_type in ("sightline_llm", "sightline_vlm"):
    register_checkpoint_conversion_mapping(_model_type, _single_experts_on_disk(), overwrite=True)
