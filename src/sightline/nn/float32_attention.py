"""SDPA in float32 under autocast, an implementation for transformers' attention interface.

For training on a CPU in bfloat16: there the backward pass of SDPA's fused kernel is slower in bfloat16 than in
float32 (`benchmarks/training_attention.py`), though matrix products are several times faster. Nothing here knows
what is attended to.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

__all__ = ["NAME", "attend_in_float32", "float32_attention"]

NAME = "sdpa_float32"


def float32_attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads seq head_dim"],
    key: Float[Tensor, "batch kv_heads keys head_dim"],
    value: Float[Tensor, "batch kv_heads keys head_dim"],
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch seq heads head_dim"], None]:
    """transformers' SDPA over float32 copies; the result is in the values' dtype."""
    with torch.autocast(query.device.type, enabled=False):
        wide = (query.float(), key.float(), value.float())
        attended, _ = sdpa_attention_forward(module, *wide, attention_mask, **kwargs)
    return attended.to(value.dtype), None


ALL_ATTENTION_FUNCTIONS.register(NAME, float32_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)


def attend_in_float32(model: nn.Module) -> None:
    """Let every transformer in `model`, its tower too, compute attention as here."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module.config._attn_implementation = NAME
