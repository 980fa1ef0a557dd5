"""Attention over the paged cache: which works are computed together, and what each of their tokens may see.

One-token works of like length go together, padded; longer ones each by themselves. Nothing here knows projections,
rope or weights: queries come turned, keys and values already stand in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sightline.engine.kv_cache import PagedKVCache
from sightline.engine.step import Work

__all__ = ["Group", "Reach", "attend", "chunk_mask", "group_works", "padded_mask", "reach", "visible"]


def visible(
    queries: Int[Tensor, "*batch queries"], keys: Int[Tensor, "*batch keys"], window: int | None
) -> Bool[Tensor, "*batch queries keys"]:
    """Who may look at whom, by position in the sequence: nobody ahead, and with a window nobody that far behind.

    queries 2 3, keys 0 1 2 3    any: 1 1 1 0    window 2: 0 1 1 0
                                      1 1 1 1              0 0 1 1
    """
    distance = queries[..., :, None] - keys[..., None, :]
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


@dataclass(frozen=True)
class Reach:
    """The part of a sequence that a work reads: positions `low` .. `end`, in its blocks `first` .. `last`."""

    low: int
    end: int
    first: int
    last: int


def reach(work: Work, block_size: int, window: int | None) -> Reach:
    """All of the sequence up to the work's end; with a window, only what its first token still sees."""
    low = 0 if window is None else max(0, work.start - window + 1)
    return Reach(low, work.end, low // block_size, (work.end - 1) // block_size + 1)


def group_works(works: Sequence[Work], reaches: Sequence[Reach]) -> list[list[int]]:
    """Indices of the works that are computed together: padding at most doubles what a group reads."""
    together: dict[int, list[int]] = {}
    alone = []
    for index, work in enumerate(works):
        if work.count > 1:
            alone.append([index])
        else:
            blocks = reaches[index].last - reaches[index].first
            together.setdefault((blocks - 1).bit_length(), []).append(index)
    return [*together.values(), *alone]


@dataclass(frozen=True)
class Group:
    """Works that attend in one call: `batch` of them with `queries` tokens each, rows `start` .. `end` of the pass.

    Keys come from `index` (into `keys` and `values`, which lie in the cache's workspace) or, where a sequence's
    blocks lie side by side, from the slots `span` directly.
    """

    start: int
    end: int
    batch: int
    queries: int
    mask: Tensor | None
    is_causal: bool = False
    span: tuple[int, int] | None = None
    index: Tensor | None = None
    gathered: Tensor | None = None
    keys: Tensor | None = None
    values: Tensor | None = None


def attend(
    cache: PagedKVCache, layer: int, queries: Float[Tensor, "tokens heads head_dim"], groups: Sequence[Group]
) -> Float[Tensor, "tokens heads_x_head_dim"]:
    """Each token's attended values, the heads side by side."""
    parts = [_attend_group(cache, layer, queries[group.start : group.end], group) for group in groups]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_group(cache: PagedKVCache, layer: int, queries: Tensor, group: Group) -> Tensor:
    keys, values = _read(cache, layer, group)
    heads = cache.kv_heads
    # Query heads that share a key head: rows of one matrix where each is one token, else heads over one stretched key.
    if group.queries == 1:
        rows = queries.reshape(group.batch * heads, 1, -1, cache.head_dim)
        attended = F.scaled_dot_product_attention(rows, keys, values, group.mask)
        return attended.reshape(group.batch, -1)
    rows = queries.view(group.queries, heads, -1, cache.head_dim).permute(1, 2, 0, 3)
    sharing = (-1, rows.shape[1], -1, -1)
    attended = F.scaled_dot_product_attention(
        rows, keys.expand(sharing), values.expand(sharing), group.mask, is_causal=group.is_causal
    )
    return attended.permute(2, 0, 1, 3).reshape(group.queries, -1)


def _read(cache: PagedKVCache, layer: int, group: Group) -> tuple[Tensor, Tensor]:
    if group.span is not None:
        return cache.span(layer, *group.span)
    assert group.index is not None
    if group.gathered is None:
        return cache.split(cache.gather(layer, group.index), group.batch)
    cache.gather(layer, group.index, out=group.gathered)
    assert group.keys is not None
    assert group.values is not None
    return group.keys, group.values


def padded_mask(
    cache: PagedKVCache, tables: Tensor, first: Tensor, places: Tensor, window: int | None
) -> Float[Tensor, "batch_x_kv_heads 1 1 keys"]:
    """What one token each, at `places`, may see of the blocks in `tables`: their sequence's, from its `first` on."""
    batch, blocks = tables.shape
    keys = torch.arange(blocks * cache.block_size, device=tables.device) + first[:, None] * cache.block_size
    mask = _additive(visible(places[:, None], keys, window), cache.dtype)
    return mask.expand(batch, cache.kv_heads, -1).reshape(batch * cache.kv_heads, 1, 1, -1)


def chunk_mask(work: Work, low: int, window: int | None, like: Tensor) -> Float[Tensor, "queries keys"]:
    """What a longer work's tokens may see of the positions from `low` on."""
    queries = torch.arange(work.start, work.end, device=like.device)
    keys = torch.arange(low, work.end, device=like.device)
    return _additive(visible(queries, keys, window), like.dtype)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
