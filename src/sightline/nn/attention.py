"""Grouped-query attention over the mixed sequence of patches and words, with an optional KV cache.

There is one path: the cache, when there is one, only lengthens keys and values. Which kernel computes it (eager,
SDPA, flash, flex) is transformers' attention interface, chosen by the config. Nothing here knows images.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sightline.config import LLMConfig
from sightline.nn.rope import rotate

_MASKED = ("sdpa", "eager", "flex_attention", "sdpa_float32")  # implementations that apply any mask


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang and Sennrich, 2019), the statistics in fp32."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention of one block; query heads share key and value heads in groups."""

    is_causal = True

    def __init__(self, config: LLMConfig, layer_idx: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.head_dim**-0.5
        width = config.hidden_size
        queries, keys = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
        self.q_proj = nn.Linear(width, queries, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, keys, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, keys, bias=config.attention_bias)
        self.o_proj = nn.Linear(queries, width, bias=config.attention_output_bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch seq hidden"],
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Any = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Float[Tensor, "batch seq hidden"], Tensor | None]:
        """The attended states, and the attention weights where the implementation returns them (eager)."""
        query, key, value = self._project(hidden_states)
        query, key = rotate(query, *position_embeddings), rotate(key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        attended, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=self.config.sliding_window,
            **kwargs,
        )
        return self.o_proj(attended.flatten(2)), weights

    def _project(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        per_head = (*hidden_states.shape[:-1], -1, self.head_dim)
        query = self.q_proj(hidden_states).view(per_head)
        key = self.k_proj(hidden_states).view(per_head)
        value = self.v_proj(hidden_states).view(per_head)
        if self.config.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)


def eager_attention(
    module: Attention,
    query: Float[Tensor, "batch heads seq head_dim"],
    key: Float[Tensor, "batch kv_heads keys head_dim"],
    value: Float[Tensor, "batch kv_heads keys head_dim"],
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Float[Tensor, "batch seq heads head_dim"], Float[Tensor, "batch heads seq keys"]]:
    """softmax(q k^T / sqrt(d) + mask) v, written out (Vaswani et al., 2017, eq. 1)."""
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores_BHLS = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores_BHLS = scores_BHLS + attention_mask
    weights_BHLS = scores_BHLS.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights_BHLS = nn.functional.dropout(weights_BHLS, p=dropout, training=module.training)
    return (weights_BHLS @ value).transpose(1, 2).contiguous(), weights_BHLS


def causal_mask(
    config: LLMConfig,
    inputs_embeds: Float[Tensor, "batch seq hidden"],
    attention_mask: Tensor | None,
    past_key_values: Cache | None,
    position_ids: Int[Tensor, "#batch seq"] | None,
    branch_ids: Int[Tensor, "batch seq"] | None = None,
) -> Any:
    """Who may look at whom, in the form that the chosen attention implementation takes (None: plainly causal).

    Position i sees j where j <= i, both are real tokens and both belong to one document. Documents are told by
    `position_ids` where there is no `attention_mask`:

        causal          padded (first column 0)    packed, position_ids 0 1 0
        1 0 0           0 0 0                      1 0 0
        1 1 0           0 1 0                      1 1 0
        1 1 1           0 1 1                      0 0 1

    `branch_ids` let several questions share one picture: i sees the trunk (0) and its own branch.

        branch_ids 0 1 1 2
        1 0 0 0
        1 1 0 0
        1 1 1 0
        1 0 0 1

    A `sliding_window` w also asks for i - j < w, between branches by `position_ids` (None: `branch_positions`). A
    4-D mask, or a dict by layer type, is taken as it is.

    Raises:
        ValueError: `branch_ids` with an attention implementation that takes no mask of one's own.
    """
    if isinstance(attention_mask, dict):
        return attention_mask["sliding_attention" if config.sliding_window else "full_attention"]
    given: dict[str, Any] = {"attention_mask": attention_mask, "past_key_values": past_key_values}
    if branch_ids is not None:
        # Other branches stand between a row and its trunk, so transformers' window, which counts rows, is no window.
        rule = _branch_rule(config, branch_ids, position_ids)
        return create_causal_mask(config, inputs_embeds, **given, position_ids=None, and_mask_function=rule)
    create = create_sliding_window_causal_mask if config.sliding_window else create_causal_mask
    return create(config, inputs_embeds, **given, position_ids=position_ids)


def _branch_rule(config: LLMConfig, branch_ids: Tensor, position_ids: Tensor | None) -> Any:
    """What a branch asks of a key besides being real and not ahead, as transformers' mask functions are."""
    if config._attn_implementation not in _MASKED:
        raise ValueError(
            f"attn_implementation={config._attn_implementation!r} takes no mask, so branches would see each other: "
            f"take {' or '.join(_MASKED)}"
        )
    place = branch_positions(branch_ids) if position_ids is None else position_ids.expand_as(branch_ids)
    window = config.sliding_window

    def may_look(batch: Any, head: Any, query: Any, key: Any) -> Tensor:
        asked = branch_ids[batch, key]
        seen = (asked == 0) | (asked == branch_ids[batch, query])
        return seen if window is None else seen & (place[batch, query] - place[batch, key] < window)

    return may_look


def branch_positions(branch_ids: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Each branch goes on where the trunk ends, as if it stood there alone.

    branch_ids 0 0 1 1 1 2 2    positions 0 1 2 3 4 2 3
    """
    index = torch.arange(branch_ids.shape[1], device=branch_ids.device).expand_as(branch_ids)
    begins = torch.ones_like(branch_ids, dtype=torch.bool)
    begins[:, 1:] = branch_ids[:, 1:] != branch_ids[:, :-1]
    start = index.where(begins, 0).cummax(dim=1).values
    trunk = (branch_ids == 0).sum(dim=1, keepdim=True)
    return (index - start + trunk).where(branch_ids != 0, index)


def positions(
    attention_mask: Any, past_length: int | Tensor, inputs_embeds: Float[Tensor, "batch seq hidden"]
) -> Int[Tensor, "batch_or_1 seq"]:
    """Positions of the new tokens: counted over real tokens where a 2-D mask tells padding, else from the cache.

    mask  0 0 1 1    positions  0 0 0 1
          1 1 1 1               0 1 2 3

    Raises:
        ValueError: the mask does not reach over the past and the new tokens.
    """
    seq, device = inputs_embeds.shape[1], inputs_embeds.device
    if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
        if isinstance(past_length, int) and attention_mask.shape[1] < past_length + seq:
            raise ValueError(
                f"attention_mask covers {attention_mask.shape[1]} positions, but the cache holds {past_length} "
                f"and {seq} are new: it must cover all of them"
            )
        return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -seq:]
    return (torch.arange(seq, device=device) + past_length).unsqueeze(0)
