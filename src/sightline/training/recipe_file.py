"""Recipes as YAML files: read with overrides, saved with every default spelled out, compared before a resume.

An error names the place in the file and, for an unknown key, the nearest known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sightline.training.data_shorthand import files_of
from sightline.training.recipe import DURATIONS, DataSection, Recipe
from sightline.training.sections import WHOLE, first_problem
from sightline.training.shipped import find_recipe
from sightline.whole_file import write_whole

__all__ = ["changes", "check_same_run", "is_saved_recipe", "load_recipe", "save_recipe"]


class _Loader(yaml.SafeLoader):
    """YAML whose floats are those of YAML 1.2 (1e-5 is a number and no text), and in which no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    )


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read and check a recipe, given by its path or the name of one that ships.

    `overrides` are `section.key=value` with YAML values. A stage is reached by its name or kind, as in
    `stages.joint.samples=64`, an element of a list by its number, as in `data.files.0.prompt=Why?`. `data=PATH` is
    short for "these rows are what is learned from": see `data_shorthand.py`.

    Raises:
        FileNotFoundError: there is no such recipe.
        ValueError: it is no YAML mapping, a key or value is wrong, or an override reaches no stage; the message names
            the place.
    """
    path = find_recipe(path)
    try:
        fields = _read(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} holds no sections (a YAML mapping)")
    # What else is said of files is said of those that data=PATH names, wherever it stands.
    for override in sorted(overrides or [], key=lambda one: not one.startswith("data=")):
        _override(fields, override)
    try:
        recipe = Recipe.model_validate(fields)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_problem(error, Recipe)}") from None
    for override in overrides or []:
        _check_reach(recipe, override)
    return recipe


def check_same_run(recipe: Recipe, saved: Recipe, over: int = 0) -> None:
    """A run goes on as what it is: its rates and lengths may change, what it builds and has seen may not.

    Files may lie elsewhere, and stages may be added behind the last one; whether files hold what they held is not
    asked here. The first `over` stages have been left behind: they stay as they were.

    Raises:
        ValueError: naming what differs.
    """
    differs = [name for name in ("model", "tokenizer") if getattr(recipe, name) != getattr(saved, name)]
    if _without_places(recipe.data) != _without_places(saved.data):
        differs.append("data")
    if recipe.train.seed != saved.train.seed:
        differs.append("train.seed")
    for index in range(len(saved.stages)):
        differs += _stage_differences(recipe, saved, index, "data" in differs)
    if differs:
        raise ValueError(f"the run to resume has another {', '.join(differs)}: give another --out for a new run")
    for stage, before in zip(recipe.stages[:over], saved.stages, strict=False):
        if changed := [name for name in (*DURATIONS, "train") if getattr(stage, name) != getattr(before, name)]:
            raise ValueError(
                f"the run to resume is past stage {stage.name}: leave its {' and '.join(changed)} as in the run's "
                "recipe.yaml, or give another --out for a new run"
            )


def _stage_differences(recipe: Recipe, saved: Recipe, index: int, other_data: bool) -> list[str]:
    before = saved.stages[index]
    place = f"stages.{before.name}"
    if index >= len(recipe.stages):
        return [place]
    stage = recipe.stages[index]
    differs = [
        name for name in ("kind", "name", "trains", "objective") if getattr(stage, name) != getattr(before, name)
    ]
    now, then = _without_places(recipe.data_of(stage)), _without_places(saved.data_of(before))
    if now != then and not other_data:
        differs.append("data")
    ours, theirs = recipe.optimisation_of(stage), saved.optimisation_of(before)
    names = ("batch_size", "optimizer")
    differs += [f"train.{name}" for name in names if getattr(ours, name) != getattr(theirs, name)]
    # A loss and a share of right answers are no scores of one scale, and the best so far is one or the other.
    rules = (ours.early_stopping, theirs.early_stopping)
    if rules[0] and rules[1] and rules[0].by != rules[1].by:
        differs.append("train.early_stopping.by")
    # A stage that has ended early, or with an average, could not go on from where it was.
    gone = [name for name in ("early_stopping", "ema") if getattr(theirs, name) and not getattr(ours, name)]
    differs += [f"train.{name}" for name in gone]
    return [f"{place}.{name}" for name in differs]


def _without_places(data: DataSection) -> DataSection:
    """`data` less where its files and pictures lie."""
    nowhere: dict[str, Any] = {"path": "", "image_folder": None}
    files = tuple(
        file.model_copy(update=nowhere | {"validation": None if file.validation is None else ""}) for file in data.files
    )
    return data.model_copy(update={"files": files})


def changes(recipe: Recipe, saved: Recipe) -> list[str]:
    """What a run goes on with otherwise than it began, as `train.lr: 0.001, before 0.0003`."""
    now, before = (dict(_leaves(one.model_dump(mode="json", exclude_none=True))) for one in (recipe, saved))
    places = dict.fromkeys((*before, *now))
    return [
        f"{place}: {now.get(place)}, before {before.get(place)}"
        for place in places
        if now.get(place) != before.get(place)
    ]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of a recipe by its dotted place; a stage's by its name."""
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
        inside = [(one.get("name", number), one) for number, one in enumerate(value)]  # type: ignore[assignment]
    else:
        yield place, value
        return
    for key, one in inside:
        yield from _leaves(one, f"{place}.{key}" if place else str(key))


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe with every default spelled out."""
    write_whole(path, _dumped(recipe))


def is_saved_recipe(path: Path) -> bool:
    """Whether `save_recipe` wrote the file: one that a person wrote must not be written over."""
    try:
        text = path.read_text(encoding="utf-8")
        return text == _dumped(load_recipe(path))
    except (OSError, ValueError):
        return False


def _dumped(recipe: Recipe) -> str:
    fields = recipe.model_dump(mode="json", exclude_none=True)
    return str(yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def _read(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader


def _override(fields: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    *places, last = key.split(".")
    if not separator or not last:
        raise ValueError(f"an override reads section.key=value, but {override!r} was given")
    if key == "data" and not value.lstrip().startswith(("{", "[")):
        _read_alone(fields, value)
        return
    if places == ["tune"] and isinstance(fields.get("tune"), str):
        fields["tune"] = {"what": fields["tune"]}  # which the word is short for
    inside: Any = fields
    for place in places:
        inside = _element(inside, place) if isinstance(inside, list) else inside.setdefault(place, {})
        if inside is None or not isinstance(inside, (dict, list)):
            raise ValueError(f"{place!r} in the override {override!r} is no section")
    if not isinstance(inside, dict):
        raise ValueError(f"the override {override!r} names no key of a section")
    inside[last] = _value(override, value)


def _check_reach(recipe: Recipe, override: str) -> None:
    """Raise ValueError for a value of `train`, or for files or their share, that no stage takes: each has its own."""
    section, _, name = override.partition("=")[0].partition(".")
    # A tokenizer and looks read the recipe's own data.world, whatever the stages have.
    if not (section == "train" or (section == "data" and name.split(".")[0] in ("files", "held_out"))):
        return
    if all(_holds(getattr(stage, section), name.split(".")) for stage in recipe.stages):
        places = " and ".join(f"stages.{stage.name}.{section}.{name}" for stage in recipe.stages)
        raise ValueError(f"the override {override!r} reaches no stage, as each has a value of its own: give {places}")


def _holds(section: Any, keys: Sequence[str]) -> bool:
    """Whether the section has a value of its own at `keys`; one of names chosen freely is a value as a whole."""
    for key in keys:
        if isinstance(section, list):
            return True
        if not isinstance(section, dict) or key not in section:
            return False
        if key in WHOLE:
            return True
        section = section[key]
    return True


def _value(override: str, value: str) -> Any:
    try:
        return _read(value)
    except yaml.YAMLError:
        raise ValueError(f"the value in the override {override!r} cannot be read as YAML") from None


def _read_alone(fields: dict[str, Any], data: str) -> None:
    """`data=PATH`: these files in the place of all others, beside as much of the built-in world as before."""
    section = fields.get("data")
    fields["data"] = {**(section if isinstance(section, dict) else {}), "files": files_of(data)}
    for stage in fields.get("stages") or []:
        if isinstance(stage, dict) and isinstance(stage.get("data"), dict):
            stage["data"].pop("files", None)


def _element(elements: list[Any], name: str) -> Any:
    """A stage by its name, else by its kind, or whatever has the number `name`."""
    if name.isdecimal():
        return elements[int(name)] if int(name) < len(elements) else None
    stages = [one for one in elements if isinstance(one, dict)]
    named = [one for one in stages if (one.get("name") or one.get("kind")) == name]
    return next(iter(named or [one for one in stages if one.get("kind") == name]), None)
