"""Cross-entropy over a large vocabulary without ever holding all of its logits."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

CHUNK = 1024  # states a chunk: 1024 x 50,000 float32 logits are 200 MB


def chunked_cross_entropy(
    states: Float[Tensor, "tokens hidden"],
    weight: Float[Tensor, "vocab hidden"],
    targets: Int[Tensor, " tokens"],
    chunk: int = CHUNK,
) -> Float[Tensor, ""]:
    """The summed cross-entropy of `states @ weight.T` against `targets`, in float32.

    A chunk's logits are computed, used and dropped, and computed again for the backward pass, so that the
    memory is `chunk * vocab` and not `tokens * vocab`.
    """
    pieces = zip(states.split(chunk), targets.split(chunk), strict=True)
    if len(states) <= chunk or not torch.is_grad_enabled():
        losses = [_cross_entropy(some, weight, wanted) for some, wanted in pieces]
    else:
        losses = [checkpoint(_cross_entropy, some, weight, wanted, use_reentrant=False) for some, wanted in pieces]
    return torch.stack(losses).sum() if losses else states.sum() * 0.0


def _cross_entropy(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(states, weight).float(), targets, reduction="sum")
