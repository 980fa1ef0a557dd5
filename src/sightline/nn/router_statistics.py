"""What the routers did, for a person to read: of each layer, and of text and image tokens apart.

A mixture that serves images with two experts and text with the rest looks balanced in a sum over both; so
each modality has its own numbers. This file only counts; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Bool, Float32, Shaped
from torch import Tensor

from sightline.nn.balance import real_tokens
from sightline.nn.moe import Routing, router_scores


class RouterStatistics(TypedDict):
    """One layer's router on the tokens of one modality; entropies are in nats."""

    tokens: int
    load: Float32[Tensor, " experts"]  # share of the choices that went to each expert
    dead_experts: int  # how many were never chosen
    entropy: float  # of `load`: log(experts) is perfect balance, 0 a single expert
    token_entropy: float  # mean over tokens, of one token's scores: how undecided the router is


@torch.no_grad()
def router_statistics(
    routings: Sequence[Routing],
    attention_mask: Shaped[Tensor, "batch total"] | None = None,
    image_mask: Bool[Tensor, "batch seq"] | None = None,
    scoring_func: str = "softmax",
) -> list[dict[str, RouterStatistics]]:
    """Of each sparse layer, `{"text": ..., "image": ...}` over real tokens. No `image_mask`: all are text."""
    layers = []
    for routing in routings:
        real = real_tokens(routing, attention_mask).bool()
        image = torch.zeros_like(real) if image_mask is None else image_mask.flatten()
        if image.shape != real.shape:
            raise ValueError(f"the router saw {real.numel()} tokens, but image_mask has {image.numel()}")
        modalities = {"text": real & ~image, "image": real & image}
        layers.append({name: _of(routing, mask, scoring_func) for name, mask in modalities.items()})
    return layers


def _of(routing: Routing, mask: Bool[Tensor, " tokens"], scoring_func: str) -> RouterStatistics:
    counts = torch.bincount(routing.experts[mask].flatten(), minlength=routing.logits.shape[-1]).float()
    load = counts / counts.sum().clamp(min=1)
    scores = router_scores(routing.logits[mask], scoring_func)
    per_token = _entropy(scores / (scores.sum(-1, keepdim=True) + 1e-20))
    return RouterStatistics(
        tokens=int(mask.sum()),
        load=load,
        dead_experts=int((counts == 0).sum()),
        entropy=float(_entropy(load)),
        token_entropy=float(per_token.sum() / max(len(per_token), 1)),
    )


def _entropy(shares: Float32[Tensor, "*tokens experts"]) -> Float32[Tensor, "*tokens"]:
    return torch.special.entr(shares).sum(-1)
