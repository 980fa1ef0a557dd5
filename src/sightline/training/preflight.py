"""Before the first step: what is trained, what the rows are like, whether the worst batch fits, and the first loss.

Every stage takes its odd rows through a whole step whose learning rate is zero. What is wrong with the recipe, the
data or the machine is said here, and not an hour later. How a report is printed is `preflight_page.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sightline.training.batches import MicroBatch, RegionBatches, StageBatches
from sightline.training.coverage import coverage
from sightline.training.language import carried_by
from sightline.training.memory import SavedForBackward, memory_limit, memory_used, peak_memory, reset_peak
from sightline.training.parts import count_parameters
from sightline.training.recipe import Part
from sightline.training.rows import GroupSize, measure_groups, odd_groups, sampled_files
from sightline.training.stage import StageRun

__all__ = ["StageReport", "preflight", "remedies"]

REGION_BATCHES = 3  # that are drawn to take the largest; a batch of pictures takes a second
FEW = 2  # rows of each odd kind that are rehearsed beside the full batch of the longest


@dataclass(frozen=True)
class StageReport:
    """What preflight saw of a stage. Losses in nats, memory in bytes, `flops` a position of the worst batch.

    `coverage` has a line for each file, `language` is a warning where the tokenizer carries what files say badly.
    """

    first_loss: float
    guess: float
    peak: int
    limit: int
    worst: str
    flops: float
    rows: str
    parameters: dict[Part, tuple[int, int]]
    coverage: tuple[str, ...] = ()
    language: str = ""


@dataclass(frozen=True)
class _Plan:
    """What is rehearsed: the odd batches by name, a small one of the longest rows, and last the worst."""

    odd: dict[str, MicroBatch]
    small: MicroBatch | None
    worst: MicroBatch
    rows: str


def preflight(run: StageRun, on_row: Callable[[int], None] | None = None) -> StageReport:
    """Rehearse a stage that has not begun. Its weights, optimisers and random numbers are left as they were.

    `on_row` is told how many of the stage's rows have been read.

    Raises:
        ValueError: a row cannot be learned from, no row has a picture where only what looks at pictures is
            trained, or the worst batch does not fit into memory.
        FloatingPointError: its first loss is not finite.
    """
    plan = _plan(run, on_row)
    for name, batch in plan.odd.items():
        _rehearse(run, batch, name)
    _foresee(run, plan)
    reset_peak(run.device)
    # Beside the optimisers' state, which the rehearsals before have made.
    loss, flops = _rehearse(run, plan.worst, "longest")
    peak = peak_memory(run.device)
    run.forget()
    return StageReport(
        first_loss=loss,
        guess=math.log(len(plan.worst["text_ids"]) if run.stage.is_contrastive else run.model.config.vocab_size),
        peak=peak,
        limit=memory_limit(run.device),
        worst=_shape(plan.worst),
        flops=flops / run.objective.positions(plan.worst),
        rows=plan.rows,
        parameters=count_parameters(run.model),
        **_of_files(run),
    )


def _of_files(run: StageRun) -> dict[str, Any]:
    """What is said of the files of a stage that reads any."""
    if isinstance(run.data, RegionBatches):
        return {}
    files = run.recipe.data_of(run.stage).files
    return {"coverage": tuple(coverage(run.stage, run.data, files)), "language": str(carried_by(run.data))}


def _plan(run: StageRun, on_row: Callable[[int], None] | None = None) -> _Plan:
    if isinstance(run.data, RegionBatches):
        drawn = [batch for step in range(REGION_BATCHES) for batch in run.data[step]]
        batch = max(drawn, key=lambda one: len(one["region_image"]))
        rows = f"{len(batch['region_image'])} regions in the largest of the first {len(drawn)} batches"
        # Twice, so that the second time has the optimisers' state beside it.
        return _Plan({"largest": batch}, None, batch, rows)
    sizes = measure_groups(run.data, run.model.config.max_position_embeddings, on_row)
    if run.stage.trains == ("projector",) and not any(one.images for one in sizes):
        raise ValueError(f"stage {run.stage.name}: it trains the projector alone, and no row has a picture")
    full = run.settings.batch_size // run.settings.accumulate
    odd = odd_groups(sizes, full, FEW)
    longest = odd.pop("longest")
    encode = _Encoder(run.data)
    small = encode(longest[:FEW]) if full > FEW else None
    rest = sum(map(len, sampled_files(run.data)))
    return _Plan({name: encode(few) for name, few in odd.items()}, small, encode(longest), _rows(sizes, rest))


class _Encoder:
    def __init__(self, data: StageBatches):
        self.data = data

    def __call__(self, groups: list[GroupSize]) -> MicroBatch:
        return self.data.encode([self.data.sources[one.source].group(one.number) for one in groups])


def _rows(sizes: list[GroupSize], rest: int) -> str:
    """In words; `rest` is how many rows the files have of which only a part was read."""
    by_length = sorted(sizes, key=lambda one: one.tokens)
    return (
        f"{len(sizes)} read, {by_length[0].tokens} to {by_length[-1].tokens} tokens (the longest: "
        f"{by_length[-1].origin}), {sum(one.images == 0 for one in sizes)} without a picture"
        + (f"; {rest:,} rows of large files are checked while the run is under way" if rest else "")
    )


def _rehearse(run: StageRun, batch: MicroBatch, name: str) -> tuple[float, float]:
    try:
        return run.rehearse([batch], name)
    except torch.OutOfMemoryError:
        raise ValueError(_too_large(run, batch, name)) from None


def _foresee(run: StageRun, plan: _Plan) -> None:
    """On a processor, where too large a batch ends in a killed process: judge it by what a small one keeps."""
    if run.device.type == "cuda" or plan.small is None:
        return
    with SavedForBackward(run.model) as saved:
        _rehearse(run, plan.small, "longest")
    share = plan.worst["input_ids"].numel() / plan.small["input_ids"].numel()
    # Gradients and the optimisers' state are there by now; activations grow with the batch.
    if memory_used(run.device) + saved.bytes * share > memory_limit(run.device):
        raise ValueError(_too_large(run, plan.worst, "longest"))


def _shape(batch: MicroBatch) -> str:
    pictures = len(batch["pixel_values"]) if "pixel_values" in batch else 0
    if "labels" not in batch:
        return f"{pictures} pictures, {len(batch['region_image'])} regions"
    rows, length = batch["input_ids"].shape
    return f"{rows} rows of {length} tokens, {pictures} pictures"


def _too_large(run: StageRun, batch: MicroBatch, name: str) -> str:
    gib = memory_limit(run.device) / 2**30
    return (
        f"stage {run.stage.name}: the rehearsal of its rows ({name}: {_shape(batch)}) does not fit into {gib:.1f} GiB: "
        f"{remedies(run)}"
    )


def remedies(run: StageRun) -> str:
    """What makes a stage's batches need less memory."""
    settings = run.settings
    if run.stage.reads_regions:
        return "lower train.batch_size"
    found = [f"raise train.accumulate above {settings.accumulate}", "lower train.batch_size"]
    if not settings.activation_checkpointing:
        found.append("set train.activation_checkpointing: true")
    return ", ".join([*found, "or shorten the longest rows"])
