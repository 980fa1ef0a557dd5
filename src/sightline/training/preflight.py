"""Before the first step: what is trained, what the rows are like, whether the worst batch fits, and the first loss.

Every stage takes its odd rows through a whole step whose learning rate is zero. What is wrong with the recipe, the
data or the machine is said here, and not an hour later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.table import Table

from sightline.training.batches import MicroBatch, RegionBatches
from sightline.training.memory import memory_limit, memory_used, peak_memory, reset_peak
from sightline.training.parts import count_parameters
from sightline.training.recipe import PARTS, Part
from sightline.training.rows import measure_groups, odd_groups
from sightline.training.stage import StageRun

__all__ = ["StageReport", "preflight", "show"]

FEW = 2  # rows of each odd kind that are rehearsed beside the full batch of the longest
GUESS_FACTOR = 1.5  # a fresh model's loss may be so many times a uniform guess's


@dataclass
class StageReport:
    """What preflight saw of a stage. Losses in nats, memory in bytes; `flops` a position of the worst batch."""

    stage: str
    first_loss: float
    guess: float
    peak: int
    limit: int
    worst: str
    flops: float = 0.0
    rows: str = ""
    rates: dict[str, str] = field(default_factory=dict)
    parameters: dict[Part, tuple[int, int]] = field(default_factory=dict)


def preflight(run: StageRun) -> StageReport:
    """Rehearse a stage that has not begun. Its weights, optimisers and random numbers are left as they were.

    Raises:
        ValueError: a row cannot be learned from, or the worst batch does not fit into memory.
        FloatingPointError: its first loss is not finite.
    """
    batches, rows = _odd_batches(run)
    first, worst = next(iter(batches.items()))
    base = memory_used(run.device)
    reset_peak(run.device)
    needed = 0.0
    # The few odd rows come first: what they take tells whether the full batch would be too much for the machine,
    # which on a processor ends in a killed process and not in an error.
    for name, batch in reversed(batches.items()):
        if name == first and base + needed * run.objective.positions(batch) > memory_limit(run.device):
            raise ValueError(_too_large(run, batch, name))
        try:
            loss, flops = run.rehearse([batch])
        except torch.OutOfMemoryError:
            raise ValueError(_too_large(run, batch, name)) from None
        needed = max(needed, (peak_memory(run.device) - base) / run.objective.positions(batch))
    return StageReport(
        stage=run.stage.name,
        first_loss=loss,
        guess=math.log(run.model.config.vocab_size if "labels" in worst else len(worst["text_ids"])),
        peak=peak_memory(run.device),
        limit=memory_limit(run.device),
        worst=_shape(worst),
        flops=flops / run.objective.positions(worst),
        rows=rows,
        rates=_rates(run),
        parameters=count_parameters(run.model),
    )


def _odd_batches(run: StageRun) -> tuple[dict[str, MicroBatch], str]:
    data = run.data
    if isinstance(data, RegionBatches):
        batch = max(data[0], key=lambda one: len(one["region_text"]))
        return {"first": batch}, f"{len(batch['region_text'])} regions in the first batch"
    sizes = measure_groups(data)
    odd = odd_groups(sizes, run.settings.batch_size // run.settings.accumulate, FEW)
    longest, shortest = odd["longest"][0], odd["shortest"][-1]
    rows = (
        f"{len(sizes)} read, {shortest.tokens} to {longest.tokens} tokens (the longest: {longest.origin}), "
        f"{sum(one.images == 0 for one in sizes)} without a picture"
    )
    groups = {name: [data.sources[one.source].group(one.number) for one in some] for name, some in odd.items()}
    return {name: data.encode(some) for name, some in groups.items()}, rows


def _shape(batch: MicroBatch) -> str:
    pictures = len(batch["pixel_values"]) if "pixel_values" in batch else 0
    if "labels" not in batch:
        return f"{pictures} pictures, {len(batch['region_text'])} regions"
    rows, length = batch["input_ids"].shape
    return f"{rows} rows of {length} tokens, {pictures} pictures"


def _too_large(run: StageRun, batch: MicroBatch, name: str) -> str:
    gib = memory_limit(run.device) / 2**30
    return (
        f"stage {run.stage.name}: the rehearsal of its rows ({name}: {_shape(batch)}) does not fit into {gib:.1f} GiB: "
        f"{_remedies(run)}"
    )


def _remedies(run: StageRun) -> str:
    settings = run.settings
    remedies = [f"raise train.accumulate above {settings.accumulate}", "lower train.batch_size"]
    if not settings.activation_checkpointing:
        remedies.append("set train.activation_checkpointing: true")
    return ", ".join([*remedies, "or shorten the longest rows"])


def _rates(run: StageRun) -> dict[str, str]:
    """By part, the learning rates of its groups."""
    rates: dict[str, dict[str, float]] = {}
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            rates.setdefault(group["part"], {})[type(optimizer).__name__] = group["initial_lr"]
    return {part: ", ".join(f"{lr:g} ({name})" for name, lr in by.items()) for part, by in rates.items()}


def show(report: StageReport, run: StageRun, console: Console) -> None:
    """Print what was seen."""
    table = Table(title=f"stage {report.stage}: {run.stage.kind}, {_duration(run)}", title_justify="left")
    for column in ("part", "parameters", "trained", "learning rate"):
        table.add_column(column, justify="right" if column in ("parameters", "trained") else "left")
    for part in PARTS:
        total, trained = report.parameters[part]
        table.add_row(part, f"{total:,}", f"{trained:,}" if trained else "frozen", report.rates.get(part, ""))
    console.print(table)
    console.print(f"rows: {report.rows}", soft_wrap=True, highlight=False)
    share = report.peak / report.limit
    console.print(
        f"worst batch: {report.worst}: peak {report.peak / 2**30:.2f} of {report.limit / 2**30:.1f} GiB",
        highlight=False,
    )
    if share > 0.9:
        console.print(f"warning: that is {share:.0%} of the memory: {_remedies(run)}", soft_wrap=True)
    what = "vocabulary" if not run.stage.is_contrastive else "names"
    console.print(
        f"first loss {report.first_loss:.3f}; a guess over the {what} costs {report.guess:.3f}", highlight=False
    )
    if report.first_loss > GUESS_FACTOR * report.guess:
        console.print(
            "warning: the first loss is far above a guess: do tokenizer and model belong together, and are the labels "
            "what the assistant says?",
            soft_wrap=True,
        )


def _duration(run: StageRun) -> str:
    stage = run.stage
    unit = next(name for name in ("steps", "samples", "tokens", "minutes") if getattr(stage, name) is not None)
    return f"{getattr(stage, unit):,} {unit}, batches of {run.settings.batch_size}"
