"""What a run's files hold, so that a resumed run reads what it has read, wherever the files lie now."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sightline.training.recipe import Recipe

__all__ = ["check_same_files", "fingerprints"]


def fingerprints(recipe: Recipe) -> dict[str, list[str]]:
    """By stage, the SHA-256 of each file that it reads, in the recipe's order."""
    known: dict[str, str] = {}
    return {stage.name: [_sha256(file.path, known) for file in recipe.data_of(stage).files] for stage in recipe.stages}


def check_same_files(recipe: Recipe, saved: dict[str, list[str]]) -> None:
    """Raise a ValueError naming the first file that is not what it was when the run began."""
    for stage in recipe.stages:
        files = recipe.data_of(stage).files
        for file, now, before in zip(files, fingerprints(recipe)[stage.name], saved.get(stage.name, ()), strict=False):
            if now != before:
                raise ValueError(
                    f"{file.path} has changed since the run began: put it back, or give another --out for a new run"
                )


def _sha256(path: str, known: dict[str, str]) -> str:
    if path not in known:
        with Path(path).open("rb") as file:
            known[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return known[path]
