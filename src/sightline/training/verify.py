"""Whether a set-up reproduces a recipe: its first steps, taken here, beside the log that ships with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from sightline.data.scenes.edition import edition
from sightline.evaluation.environment import environment
from sightline.training.build import build
from sightline.training.journal import read_log
from sightline.training.recipe import Recipe
from sightline.training.settling import settled
from sightline.training.stage import StageRun, place_of

__all__ = ["TOLERANCE", "Comparison", "first_steps", "log_of", "made_with", "verify"]

# Processors round differently, and training enlarges it: over tens of steps to well below a percent.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Comparison:
    """The losses `here` and in the shipped log, step by step, and what that was made with, if it says so."""

    here: list[float]
    shipped: list[float]
    environment: dict[str, str] = field(default_factory=dict)  # the log's
    own_environment: dict[str, str] = field(default_factory=dict)

    @property
    def differing(self) -> list[str]:
        """`torch 2.12.0 (here 2.13.0)`: in what the log was made otherwise."""
        then, here = self.environment, self.own_environment
        return [
            f"{name} {then.get(name, 'none')} (here {here.get(name, 'none')})"
            for name in {**then, **here}
            if then.get(name) != here.get(name)
        ]

    @property
    def deviation(self) -> float:
        """The largest relative difference."""
        return max(abs(a - b) / abs(b) for a, b in zip(self.here, self.shipped, strict=True))

    @property
    def same_bits(self) -> bool:
        return self.here == self.shipped

    @property
    def reproduces(self) -> bool:
        return self.deviation <= TOLERANCE


def log_of(recipe: Path) -> Path:
    """The log that ships with a recipe: `tiny.log.jsonl` beside `tiny.yaml`."""
    return recipe.with_suffix(".log.jsonl")


def verify(recipe: Recipe, log: Path, steps: int) -> Comparison:
    """Take the first `steps` steps, writing nothing, and compare their losses with `log`.

    Raises:
        FileNotFoundError: there is no such log: not every recipe ships with one.
        ValueError: the log, or the recipe, has fewer steps.
    """
    if not log.is_file():
        raise FileNotFoundError(f"no log ships with this recipe: there is none at {log} to compare with")
    records = read_log(log)[:steps]
    shipped = [record["loss"] for record in records]
    if len(shipped) < steps:
        raise ValueError(f"{log} holds the first {len(shipped)} steps: verify at most so many, not {steps}")
    here = [record["loss"] for record in first_steps(recipe, steps)]
    if len(here) < steps:
        raise ValueError(f"the recipe ends after {len(here)} steps: verify at most so many, not {steps}")
    return Comparison(here, shipped, records[0].get("environment", {}), made_with(recipe))


def made_with(recipe: Recipe) -> dict[str, str]:
    """What decides a run's bits beside the recipe: versions, the world's edition, processor, threads, and where and in
    what it computes.
    """
    device, dtype = place_of(recipe)
    deciding = {name: value for name, value in environment().items() if name not in ("system", "memory")}
    return {**deciding, "world": edition(), "device": str(device), "dtype": str(dtype).removeprefix("torch.")}


def first_steps(recipe: Recipe, steps: int) -> list[dict[str, Any]]:
    """The records of a run's first steps; questions are not asked, and no stage stops early."""
    recipe = settled(recipe)
    model, processor = build(recipe)
    device, dtype = place_of(recipe)
    torch.nn.Module.to(model, device)
    records: list[dict[str, Any]] = []
    for stage in recipe.stages:
        run = StageRun(recipe, stage, model, processor, device, dtype)
        taken = islice(run.steps(), steps - len(records))
        records += ({"stage": stage.name, "stage_step": run.step, **record} for record in taken)
        if len(records) == steps:
            break
        run.end()
    return records
