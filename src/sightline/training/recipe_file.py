"""Recipes as YAML files: read with overrides, saved with every default spelled out, compared before a resume.

An error names the place in the file and, for an unknown key, the nearest known one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sightline.training.recipe import Recipe
from sightline.training.sections import first_problem
from sightline.training.whole_file import write_whole

__all__ = ["check_same_run", "load_recipe", "save_recipe"]


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read and check a recipe; `overrides` are `section.key=value` with YAML values.

    A stage is reached by its name or kind: `stages.joint.samples=64`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML mapping, or a key or value is wrong; the message names the place.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe at {path}")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} holds no sections (a YAML mapping)")
    for override in overrides or []:
        _override(fields, override)
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_problem(error)}") from None


def check_same_run(recipe: Recipe, saved: Recipe) -> None:
    """A run goes on as what it is: its rates and lengths may change, what it builds and has seen may not.

    Raises:
        ValueError: naming what differs.
    """
    fixed = ("model", "tokenizer", "data")
    differs = [name for name in fixed if getattr(recipe, name) != getattr(saved, name)]
    if recipe.train.seed != saved.train.seed:
        differs.append("train.seed")
    for stage, before in zip(recipe.stages, saved.stages, strict=False):
        same = ("kind", "name", "trains", "objective", "data")
        differs += [f"stages.{before.name}.{name}" for name in same if getattr(stage, name) != getattr(before, name)]
        if recipe.optimisation_of(stage).batch_size != saved.optimisation_of(before).batch_size:
            differs.append(f"stages.{before.name}.train.batch_size")
    if differs:
        raise ValueError(f"the run to resume has another {', '.join(differs)}: give another --out for a new run")


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe with every default spelled out."""
    text = yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)
    write_whole(path, text)


def _override(fields: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    *places, last = key.split(".")
    if not separator or not last:
        raise ValueError(f"an override reads section.key=value, but {override!r} was given")
    inside: Any = fields
    for place in places:
        inside = _stage(inside, place) if isinstance(inside, list) else inside.setdefault(place, {})
        if inside is None or not isinstance(inside, (dict, list)):
            raise ValueError(f"{place!r} in the override {override!r} is no section")
    if not isinstance(inside, dict):
        raise ValueError(f"the override {override!r} names no key of a section")
    try:
        inside[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f"the value in the override {override!r} is not YAML") from None


def _stage(stages: list[Any], name: str) -> dict[str, Any] | None:
    return next((one for one in stages if isinstance(one, dict) and name in (one.get("name"), one.get("kind"))), None)
