"""What keeps the experts of a mixture equally busy: the balance losses, the z-loss and the selection bias.

All are functions of the routers' decisions and of which tokens are real: padding weighs nothing in any of
them. Nothing here knows the model's outputs or its optimiser; `CausalLM` adds the losses to its own with
`aux_loss_alpha` and `router_z_loss_alpha`, and a training loop moves the bias after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor, nn

from sightline.config import LLMConfig
from sightline.nn.moe import MixtureOfExperts, Routing, router_scores


def balance_loss(
    routings: Sequence[Routing],
    config: LLMConfig,
    attention_mask: Shaped[Tensor, "batch total"] | None = None,
    batch_size: int | None = None,
) -> Float32[Tensor, ""]:
    """The auxiliary loss that is least where every expert gets as many tokens as any other.

    `seq_aux=False`: over the whole batch and all layers together, as `load_balancing_loss_func` of
    transformers (Switch Transformer, eq. 4 to 6, of top_k choices); top_k where balanced.
    `seq_aux=True`: of each sequence, then the mean over sequences and layers (DeepSeekMoE, eq. 12 to 14;
    DeepSeek sums over layers, the mean leaves `aux_loss_alpha` independent of depth); 1 where balanced.
    A sequence without a real token counts in neither.
    """
    if config.seq_aux:
        losses = [_sequence_loss(routing, config, attention_mask, batch_size) for routing in routings]
        return torch.stack(losses).mean()
    pooled = Routing(*(torch.cat(parts) for parts in zip(*routings, strict=True)))
    real = torch.cat([real_tokens(routing, attention_mask) for routing in routings])
    tokens = real.sum().clamp(min=1)
    chosen = _counts(pooled, real) / tokens
    scores = (_shares(pooled, config) * real[:, None]).sum(0) / tokens
    return config.n_routed_experts * (chosen * scores).sum()


def router_z_loss(
    routings: Sequence[Routing], attention_mask: Shaped[Tensor, "batch total"] | None = None
) -> Float32[Tensor, ""]:
    """Mean over tokens and layers of logsumexp(logits) squared: keeps logits small (ST-MoE, eq. 5)."""
    losses = []
    for routing in routings:
        real = real_tokens(routing, attention_mask)
        losses.append((routing.logits.logsumexp(-1).square() * real).sum() / real.sum().clamp(min=1))
    return torch.stack(losses).mean()


@torch.no_grad()
def update_router_bias(
    moe: MixtureOfExperts,
    routing: Routing,
    attention_mask: Shaped[Tensor, "batch total"] | None,
    rate: float,
    sum_over_ranks: Callable[[Tensor], object] | None = None,
) -> None:
    """Move the bias by `rate`: up for experts with less than the mean load, down for those with more.

    DeepSeek-V3, section 2.1.2, in place. `sum_over_ranks` adds up the counts of all processes in place (for
    example `torch.distributed.all_reduce`), so that every copy of the model takes the same step.
    """
    bias = moe.gate.e_score_correction_bias
    if bias is None:
        raise ValueError("this mixture of experts has no selection bias: use_router_bias=False")
    load = _counts(routing, real_tokens(routing, attention_mask))
    if sum_over_ranks is not None:
        sum_over_ranks(load)
    bias += rate * (load.mean() - load).sign()


def update_router_biases(
    model: nn.Module,
    routings: Sequence[Routing],
    attention_mask: Shaped[Tensor, "batch total"] | None,
    rate: float,
    sum_over_ranks: Callable[[Tensor], object] | None = None,
) -> None:
    """`update_router_bias` for each sparse layer of `model`, from the `router` of its output."""
    mixtures = [module for module in model.modules() if isinstance(module, MixtureOfExperts)]
    if len(mixtures) != len(routings):
        raise ValueError(f"the model has {len(mixtures)} sparse layers, but there are {len(routings)} routings")
    for moe, routing in zip(mixtures, routings, strict=True):
        update_router_bias(moe, routing, attention_mask, rate, sum_over_ranks)


def real_tokens(routing: Routing, attention_mask: Shaped[Tensor, "batch total"] | None) -> Float32[Tensor, " tokens"]:
    """1 for a real token, 0 for padding; of a mask that also covers the cache, the last columns count."""
    tokens = routing.logits.shape[0]
    if attention_mask is None:
        return routing.logits.new_ones(tokens)
    batch, total = attention_mask.shape
    if tokens % batch or tokens // batch > total:
        raise ValueError(f"the router saw {tokens} tokens, but attention_mask is {batch} x {total}")
    return attention_mask[:, total - tokens // batch :].flatten().to(routing.logits)


def _sequence_loss(
    routing: Routing, config: LLMConfig, attention_mask: Tensor | None, batch_size: int | None
) -> Float32[Tensor, ""]:
    batch = batch_size if attention_mask is None else len(attention_mask)
    if batch is None:
        raise ValueError("seq_aux=True needs attention_mask or batch_size, but both are None")
    real = real_tokens(routing, attention_mask).view(batch, -1, 1)
    length = real.sum(1)
    chosen = (_choices(routing).view(batch, -1, config.n_routed_experts) * real).sum(1)
    scores = (_shares(routing, config).view(batch, -1, config.n_routed_experts) * real).sum(1)
    balanced = config.num_experts_per_token * length.clamp(min=1) / config.n_routed_experts
    losses = ((chosen / balanced) * (scores / length.clamp(min=1))).sum(-1)
    return losses.sum() / (length > 0).sum().clamp(min=1)


def _shares(routing: Routing, config: LLMConfig) -> Float32[Tensor, "tokens experts"]:
    """A token's scores as shares of one; those of sigmoid are normalised first (DeepSeek-V3, eq. 19)."""
    scores = router_scores(routing.logits, config.scoring_func)
    return scores / (scores.sum(-1, keepdim=True) + 1e-20)


def _choices(routing: Routing) -> Float32[Tensor, "tokens experts"]:
    """1 where the token chose the expert, else 0."""
    return torch.zeros_like(routing.logits).scatter(-1, routing.experts, 1.0)


def _counts(routing: Routing, real: Float[Tensor, " tokens"]) -> Float32[Tensor, " experts"]:
    return (_choices(routing) * real[:, None]).sum(0)
