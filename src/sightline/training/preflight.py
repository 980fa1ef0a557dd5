"""Before the first step: what is trained, what the rows are like, whether the worst batch fits, and the first loss.

Every stage takes its odd rows through a whole step whose learning rate is zero. What is wrong with the recipe, the
data or the machine is said here, and not an hour later. How a report is printed is `preflight_page.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from sightline.training.batches import MicroBatch, RegionBatches
from sightline.training.coverage import coverage
from sightline.training.language import carried_by
from sightline.training.memory import SavedForBackward, memory_limit, memory_used, peak_memory, reset_peak
from sightline.training.parts import count_parameters
from sightline.training.recipe import Part
from sightline.training.rehearsals import Rehearsal, plan_of
from sightline.training.stage import StageRun

__all__ = ["StageReport", "preflight", "remedies"]


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


class _Measured(NamedTuple):
    """A full batch, its loss and floating-point operations, and the most memory that its step took."""

    batch: MicroBatch
    loss: float
    flops: float
    peak: int


def preflight(run: StageRun, on_row: Callable[[int], None] | None = None) -> StageReport:
    """Rehearse a stage that has not begun. Its weights, optimisers and random numbers are left as they were.

    `on_row` hears of how many more of the stage's rows have been read.

    Raises:
        ValueError: a row cannot be learned from, no row has a picture where only what looks at pictures is trained,
            nothing is trained, or the worst batch does not fit into memory.
        FloatingPointError: its first loss is not finite.
    """
    plan = plan_of(run.data, run.model.config.max_position_embeddings, on_row)
    _check_learns(run, (*plan.odd, *plan.full))
    # What may not fit is judged first, beside the optimisers' state that judging has made. What seems the largest is
    # taken last.
    kept = [_kept(run, one) for one in plan.full]
    foreseen = sorted(zip(kept, plan.full, strict=True), key=lambda pair: pair[0])
    for bytes_kept, one in foreseen:
        _check_room(run, one, bytes_kept)
    for one in plan.odd:
        _rehearse(run, one)
    measured = [_measured(run, one) for _, one in foreseen]
    worst, loss, flops, peak = max(reversed(measured), key=lambda one: one.peak)
    run.forget()
    return StageReport(
        first_loss=loss,
        guess=math.log(len(worst["text_ids"]) if run.stage.is_contrastive else run.model.config.vocab_size),
        peak=peak,
        limit=memory_limit(run.device),
        worst=_shape(worst),
        flops=flops / run.objective.positions(worst),
        rows=plan.rows,
        parameters=count_parameters(run.model),
        **_of_files(run),
    )


def _check_learns(run: StageRun, batches: Sequence[Rehearsal]) -> None:
    """Refuse a stage of which every step would change nothing."""
    parts = " and ".join(run.stage.trains)
    if not run.trained:
        raise ValueError(f"stage {run.stage.name}: nothing of the {parts} learns in it")
    if "language" not in run.stage.trains and not any("pixel_values" in one.batch for one in batches):
        raise ValueError(f"stage {run.stage.name}: it trains the {parts} alone, and no row has a picture")


def _of_files(run: StageRun) -> dict[str, Any]:
    """What is said of the files of a stage that reads any."""
    if isinstance(run.data, RegionBatches):
        return {}
    files = run.recipe.data_of(run.stage).files
    return {"coverage": tuple(coverage(run.stage, run.data, files)), "language": str(carried_by(run.data))}


def _rehearse(run: StageRun, one: Rehearsal) -> tuple[float, float]:
    try:
        return run.rehearse([one.batch], str(one))
    except torch.OutOfMemoryError:
        raise ValueError(_too_large(run, one)) from None


def _measured(run: StageRun, one: Rehearsal) -> _Measured:
    reset_peak(run.device)
    loss, flops = _rehearse(run, one)
    return _Measured(one.batch, loss, flops, peak_memory(run.device))


def _kept(run: StageRun, one: Rehearsal) -> float:
    """Bytes that a full batch keeps for its backward pass, judged by what its smaller like keeps."""
    if one.like is None:
        return 0.0
    with SavedForBackward(run.model) as saved:
        _rehearse(run, replace(one, batch=one.like))
    return saved.bytes * one.growth


def _check_room(run: StageRun, one: Rehearsal, kept: float) -> None:
    """On a processor, where too large a batch ends in a killed process, raise a ValueError instead."""
    several = run.settings.accumulate > 1  # micro-batches, beside whose gradients so far the next is taken
    gradients = sum(weight.nbytes for weight in run.trained) if several else 0
    if run.device.type != "cuda" and memory_used(run.device) + gradients + kept > memory_limit(run.device):
        raise ValueError(_too_large(run, one))


def _shape(batch: MicroBatch) -> str:
    pictures = len(batch["pixel_values"]) if "pixel_values" in batch else 0
    if "labels" not in batch:
        return f"{pictures} pictures, {len(batch['region_image'])} regions"
    rows, length = batch["input_ids"].shape
    return f"{rows} rows of {length} tokens, {pictures} pictures"


def _too_large(run: StageRun, one: Rehearsal) -> str:
    gib = memory_limit(run.device) / 2**30
    return (
        f"stage {run.stage.name}: the rehearsal of {one}, {_shape(one.batch)}, does not fit into {gib:.1f} GiB: "
        f"{remedies(run)}"
    )


def remedies(run: StageRun) -> str:
    """What makes a stage's batches need less memory."""
    settings, place = run.settings, f"stages.{run.stage.name}.train"  # which goes before what stands in `train`
    if run.stage.reads_regions:
        return f"lower {place}.batch_size"
    found = []
    if settings.batch_size > settings.accumulate:  # or a micro-batch is one row
        found += [f"raise {place}.accumulate above {settings.accumulate}", f"lower {place}.batch_size"]
    if not settings.activation_checkpointing:
        found.append(f"set {place}.activation_checkpointing: true")
    return " or ".join(filter(None, [", ".join(found), "shorten the longest rows"]))
