"""What a run's files hold, so that a resumed run reads what it has read, wherever the files lie now."""

from __future__ import annotations

from sightline.training.holdout import sides_of_files
from sightline.training.recipe import Recipe

__all__ = ["check_same_files", "fingerprints"]


def fingerprints(recipe: Recipe) -> dict[str, list[str]]:
    """By stage, the fingerprint of each of the files that it reads, and of how it is divided, in the recipe's order."""
    sides = sides_of_files(recipe)
    files = {stage.name: [sides[file] for file in recipe.data_of(stage).files] for stage in recipe.stages}
    known = {rows: rows.fingerprint() for rows in {rows for of_stage in files.values() for rows in of_stage}}
    return {name: [known[rows] for rows in of_stage] for name, of_stage in files.items()}


def check_same_files(recipe: Recipe, saved: dict[str, list[str]]) -> None:
    """Raise a ValueError naming the first file that is not what it was when the run began."""
    known = fingerprints(recipe)
    for stage in recipe.stages:
        files = recipe.data_of(stage).files
        for file, now, before in zip(files, known[stage.name], saved.get(stage.name, ()), strict=False):
            if now != before:
                has_more = len(known) > len(saved)  # stages, which may hold out what the file shows
                why = ", or a stage that was added holds out what it shows" if has_more else ""
                remedy = "put it back, or give another --out for a new run"
                raise ValueError(f"{file.path} has changed since the run began{why}: {remedy}")
