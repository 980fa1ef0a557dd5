"""From works to what one pass takes: tokens, rope rows, slots and attention groups, in one small transfer.

All choices are made on numbers in Python; nothing here waits for the device or reads a weight.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sightline.engine.kv_cache import PagedKVCache
from sightline.engine.paged_attention import Group, Reach, chunk_mask, group_works, padded_mask, reach
from sightline.engine.rope_table import RopeTable
from sightline.engine.step import Work

__all__ = ["PassInputs", "lay_out", "upload", "wanted"]


@dataclass(frozen=True)
class PassInputs:
    """`begins[i]` is the row of work i's first token. `kept`: the rows whose logits are wanted (None: all)."""

    ids: Int[Tensor, " tokens"]
    rope_rows: Int[Tensor, " tokens"]
    slots: Int[Tensor, " tokens"]
    kept: Int[Tensor, " rows"] | None
    groups: list[Group]
    begins: list[int]


def upload(parts: Sequence[Sequence[int]], device: torch.device) -> list[Tensor]:
    """Each list as a tensor of int64, all in one copy that the host does not wait for."""
    sizes = [len(part) for part in parts]
    numbers = torch.from_numpy(np.fromiter(itertools.chain.from_iterable(parts), np.int64, sum(sizes)))
    if device.type == "cuda":
        numbers = numbers.pin_memory().to(device, non_blocking=True)
    elif device.type != "cpu":
        numbers = numbers.to(device)
    return list(numbers.split(sizes))


def tokens_of(work: Work) -> list[int]:
    """The ids that `work` computes."""
    ids, draft = work.seq.ids, work.seq.draft
    known = len(ids)
    if work.end <= known:
        return ids[work.start : work.end]
    return ids[work.start :] + draft[max(work.start - known, 0) : work.end - known]


def wanted(work: Work, all_rows: bool) -> range:
    """Which of the work's tokens give logits: those from the last known one (or from `logits_from`) on, or all."""
    seq = work.seq
    first = len(seq.ids) - 1 if seq.logits_from is None else seq.logits_from
    return range(0 if all_rows else max(first - work.start, 0), work.count)


def lay_out(
    works: Sequence[Work], cache: PagedKVCache, rope: RopeTable, window: int | None, all_rows: bool = False
) -> PassInputs:
    """The inputs of one pass over `works`. Rows stand in the order of the groups, `kept` in that of the works."""
    reaches = [reach(work, cache.block_size, window) for work in works]
    grouped = group_works(works, reaches)
    ids: list[int] = []
    rope_rows: list[int] = []
    slots: list[int] = []
    begins = [0] * len(works)
    for index in itertools.chain.from_iterable(grouped):
        work = works[index]
        begins[index] = len(ids)
        ids += tokens_of(work)
        rope_rows += rope.rows(work.start, work.end, len(work.seq.prompt.ids))
        slots += cache.slots_of(work.seq.blocks, work.start, work.end)
    kept = [begins[index] + row for index, work in enumerate(works) for row in wanted(work, all_rows)]
    plans = [_plan([works[i] for i in group], [reaches[i] for i in group], cache) for group in grouped]
    parts = [ids, rope_rows, slots, kept, *itertools.chain.from_iterable((plan.tables, plan.first) for plan in plans)]
    ids_there, rope_there, slots_there, kept_there, *rest = upload(parts, cache.device)
    return PassInputs(
        ids=ids_there,
        rope_rows=rope_there,
        slots=slots_there,
        kept=None if kept == list(range(len(ids))) else kept_there,
        groups=_groups(plans, rest, cache, window),
        begins=begins,
    )


@dataclass(frozen=True)
class _Plan:
    """A group before its numbers are on the device. `tables`: the blocks of each work, padded to `blocks`."""

    works: list[Work]
    reaches: list[Reach]
    blocks: int
    tables: list[int]
    first: list[int]  # of each work, the block its table begins with and its token's position; nothing where alone


def _plan(works: list[Work], reaches: list[Reach], cache: PagedKVCache) -> _Plan:
    tables = [work.seq.blocks[reach.first : reach.last] for work, reach in zip(works, reaches, strict=True)]
    if len(works) == 1:
        begin, blocks = tables[0][0], len(tables[0])
        side_by_side = tables[0] == list(range(begin, begin + blocks))
        return _Plan(works, reaches, blocks, [] if side_by_side else tables[0], [])
    blocks = max(map(len, tables))
    padded = [block for table in tables for block in (*table, *[cache.scratch] * (blocks - len(table)))]
    return _Plan(works, reaches, blocks, padded, [reach.first for reach in reaches] + [work.start for work in works])


def _groups(plans: list[_Plan], numbers: list[Tensor], cache: PagedKVCache, window: int | None) -> list[Group]:
    per_block = 2 * cache.kv_heads
    cache.workspace(per_block * max(len(plan.tables) for plan in plans))  # grown once, before it is shared out
    groups = []
    start = 0
    for plan, tables, first in zip(plans, numbers[::2], numbers[1::2], strict=True):
        make = _alone if len(plan.works) == 1 else _together
        groups.append(make(plan, start, tables, first, cache, window))
        start = groups[-1].end
    return groups


def _together(plan: _Plan, start: int, tables: Tensor, first: Tensor, cache: PagedKVCache, window: int | None) -> Group:
    batch = len(plan.works)
    tables, (blocks, places) = tables.view(batch, -1), first.view(2, batch)
    gathered = cache.workspace(2 * cache.kv_heads * tables.numel())
    keys, values = cache.split(gathered, batch)
    mask = padded_mask(cache, tables, blocks, places, window)
    return Group(start, start + batch, batch, 1, mask, False, None, cache.index(tables), gathered, keys, values)


def _alone(plan: _Plan, start: int, tables: Tensor, _: Tensor, cache: PagedKVCache, window: int | None) -> Group:
    (work,), (reach,) = plan.works, plan.reaches
    is_causal = work.count > 1 and work.start == 0 and (window is None or work.end <= window)
    mask = None if is_causal or work.count == 1 else chunk_mask(work, reach.low, window, cache.layers[0])
    # Counted from the first row of the first block that is read.
    rows = slice(reach.low - reach.first * cache.block_size, reach.end - reach.first * cache.block_size)
    end = start + work.count
    if not plan.tables:
        offset = work.seq.blocks[reach.first] * cache.block_size
        return Group(start, end, 1, work.count, mask, is_causal, span=(offset + rows.start, offset + rows.stop))
    gathered = cache.workspace(2 * cache.kv_heads * plan.blocks)
    keys, values = (part[:, :, rows] for part in cache.split(gathered, 1))
    return Group(start, end, 1, work.count, mask, is_causal, None, cache.index(tables[None]), gathered, keys, values)
