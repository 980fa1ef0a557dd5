"""The pass over one token of each of several sequences, as one function of tensors that can be compiled whole.

It computes what `run_blocks` computes with one padded group, without Python between the blocks. Sizes are padded to
powers of two where each size is recorded as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.engine.compiling import Compiled, mark_dynamic
from sightline.engine.forward import Shape, head, run_blocks
from sightline.engine.kv_cache import PagedKVCache
from sightline.engine.paged_attention import Group, attend, padded_mask, reach
from sightline.engine.pass_inputs import tokens_of, upload
from sightline.engine.rope_table import RopeTable
from sightline.engine.step import Work
from sightline.engine.weights import FusedWeights, LayerWeights

__all__ = ["DecodeInputs", "compiled_part", "decode_pass", "lay_out_decode"]


@dataclass(frozen=True)
class DecodeInputs:
    """One row a work, in their order, and perhaps rows of padding behind them.

    `starts` holds, of each row, the block in its sequence that its table begins with, and its token's position.
    """

    ids: Int[Tensor, " rows"]
    rope_rows: Int[Tensor, " rows"]
    slots: Int[Tensor, " rows"]
    tables: Int[Tensor, "rows blocks"]
    starts: Int[Tensor, "2 rows"]


def lay_out_decode(
    works: Sequence[Work], cache: PagedKVCache, rope: RopeTable, window: int | None, padded: bool
) -> DecodeInputs:
    """The inputs of a pass over works of one token each; `padded`: to powers of two.

    Rows of padding write into the scratch block and read it.
    """
    reaches = [reach(work, cache.block_size, window) for work in works]
    tables = [work.seq.blocks[reach.first : reach.last] for work, reach in zip(works, reaches, strict=True)]
    # Two at least: the compiler takes a size of 1 for a case of its own.
    blocks = max(2, *map(len, tables))
    rows = len(works)
    if padded:
        blocks, rows = (1 << (size - 1).bit_length() for size in (blocks, rows))
    spare = rows - len(works)
    ids = [tokens_of(work)[0] for work in works]
    rope_rows = [rope.rows(work.start, work.end, len(work.seq.prompt.ids))[0] for work in works]
    slots = [cache.slots_of(work.seq.blocks, work.start, work.end)[0] for work in works]
    flat = [block for table in tables for block in (*table, *[cache.scratch] * (blocks - len(table)))]
    parts = [
        ids + [0] * spare,
        rope_rows + [0] * spare,
        slots + [cache.scratch * cache.block_size] * spare,
        flat + [cache.scratch] * (spare * blocks),
        [*(reach.first for reach in reaches), *[0] * spare, *(work.start for work in works), *[0] * spare],
    ]
    ids_, rope_, slots_, tables_, starts = upload(parts, cache.device)
    return DecodeInputs(ids_, rope_, slots_, tables_.view(rows, blocks), starts.view(2, rows))


def decode_pass(
    weights: FusedWeights, lm_head: Any, cache: PagedKVCache, shape: Shape, window: int | None
) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The function `(hidden, rope, slots, tables, starts) -> logits`; it stores the tokens' keys and values."""

    def run(
        hidden: Float[Tensor, "rows hidden"],
        rope: Float[Tensor, "rows 2 1 rotated"],
        slots: Int[Tensor, " rows"],
        tables: Int[Tensor, "rows blocks"],
        starts: Int[Tensor, "2 rows"],
    ) -> Float[Tensor, "rows vocab"]:
        rows = len(hidden)
        mask = padded_mask(cache, tables, starts[0], starts[1], window)
        groups = [Group(0, rows, rows, 1, mask, index=cache.index(tables))]

        def attend_and_store(layer: int, qkv: Tensor) -> Tensor:
            cache.write(layer, slots, qkv[:, shape.heads :])
            return attend(cache, layer, qkv[:, : shape.heads], groups)

        hidden = run_blocks(weights.layers, hidden, rope, shape, attend_and_store)
        return head(weights, lm_head, hidden, shape)

    return run


def compiled_part(part: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    """`project` or `finish`, compiled once for all blocks and any number of tokens. What is not fused runs as it is."""
    compiled = Compiled(part, device, fixed=("layer", "shape"))

    def run(layer: LayerWeights, hidden: Tensor, *rest: Any) -> Tensor:
        if any(weight is None for weight in (layer.qkv, layer.out, layer.gate_up)):
            return part(layer, hidden, *rest)
        mark_dynamic(hidden, *(each for each in rest if isinstance(each, Tensor)))
        return compiled(layer, hidden, *rest)

    return run
