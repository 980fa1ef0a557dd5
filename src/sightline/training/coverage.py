"""How often a stage comes to see each group of its files, from its length and the proportions of its sources."""

from __future__ import annotations

import math

from sightline.training.batches import StageBatches
from sightline.training.recipe import FileSource, Stage
from sightline.training.sources import BLOCK, FileGroups

__all__ = ["coverage"]


def coverage(stage: Stage, data: StageBatches, files: tuple[FileSource, ...]) -> list[str]:
    """A line for each file whose groups are counted before the first step; none of a stage by tokens or by the clock.

    Args:
        files: those of `stage`, which are the last of `data`'s sources.
    """
    batch = data.settings.batch_size
    samples = stage.samples if stage.steps is None else stage.steps * batch
    if samples is None or not files:
        return []
    unit, size = ("samples", 1) if stage.steps is None else ("steps", batch)
    lines = []
    for file, source, places in zip(files, data.sources[-len(files) :], data.deal.counts[-len(files) :], strict=True):
        if not isinstance(source, FileGroups):
            continue
        groups, dealt = len(source), samples * places // BLOCK
        seen = f"each seen {dealt / groups:.1f} times"
        if dealt < groups:
            needed = math.ceil(groups * BLOCK / places / size)
            seen = f"{dealt:,} of them seen: stages.{stage.name}.{unit}={needed} shows each once"
        lines.append(f"{file.path}: {groups:,} groups (of rows about one picture), {seen}")
    return lines
