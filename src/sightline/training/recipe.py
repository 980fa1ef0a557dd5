"""A recipe: everything that decides what a training run gives, in one validated YAML file.

An unknown key or a value of the wrong kind is an error that names the place and the nearest key. This file
reads and checks; it neither builds nor trains.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sightline.config import PRESETS


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """Which model: a preset of `sightline.config.PRESETS`, and what to change in it.

    The vocabulary is the tokenizer's and the tower is trained, so neither can be overridden.
    """

    preset: str = "sightline-tiny"
    overrides: dict[str, Any] = Field(default_factory=dict)

    @field_validator("overrides")
    @classmethod
    def _not_what_the_run_decides(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        decided = {"vocab_size", "freeze_vision", "pad_token_id", "bos_token_id", "eos_token_id"} & overrides.keys()
        if decided:
            raise ValueError(f"{', '.join(sorted(decided))} cannot be overridden: the run decides it")
        return overrides

    @model_validator(mode="after")
    def _preset_exists(self) -> ModelSection:
        if self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}; there is {', '.join(sorted(PRESETS))}")
        return self


class TokenizerSection(_Section):
    """The tokenizer, trained on `texts` conversations of the world before the first step."""

    vocab_size: int = Field(2048, ge=512)
    texts: int = Field(20_000, ge=1)


class DataSection(_Section):
    """What the built-in world shows: how many of its things, asked about in which languages."""

    things: int | None = Field(None, ge=2)
    languages: tuple[Literal["en", "zh"], ...] = ("en", "zh")


class Phase(_Section):
    """A stretch of the curriculum, up to `until` (a share of all pictures).

    Every picture has `questions` questions. `grid_share` of the pictures are full grids, and one of their
    questions asks for all nine things.
    """

    until: float = Field(gt=0, le=1)
    grid_share: float = Field(ge=0, le=1)
    questions: int = Field(4, ge=1)


class TrainSection(_Section):
    """One joint stage: tower, projector and language model together."""

    pictures: int = Field(ge=1)
    batch_size: int = Field(32, ge=1)
    muon_lr: float = Field(0.008, gt=0)
    adamw_lr: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(50, ge=0)
    decay_share: float = Field(0.3, ge=0, le=1)
    max_grad_norm: float = Field(1.0, gt=0)
    curriculum: tuple[Phase, ...] = (Phase(until=1.0, grid_share=0.25),)
    workers: int = Field(1, ge=0)
    checkpoint_every: int = Field(100, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of the matrix products; the weights stay float32
    compile: bool = False
    seed: int = 0

    @model_validator(mode="after")
    def _phases_rise_to_the_end(self) -> TrainSection:
        ends = [phase.until for phase in self.curriculum]
        if ends != sorted(set(ends)) or not ends or ends[-1] != 1.0:
            raise ValueError(f"the curriculum's `until` values must rise and end at 1.0, but are {ends}")
        return self

    @property
    def steps(self) -> int:
        return -(-self.pictures // self.batch_size)


class Recipe(_Section):
    """A whole run."""

    name: str
    model: ModelSection = ModelSection()
    tokenizer: TokenizerSection = TokenizerSection()
    data: DataSection = DataSection()
    train: TrainSection


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read and check a recipe; `overrides` are `section.key=value` with YAML values.

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
        raise ValueError(f"{path}: {_first_problem(error)}") from None


def check_same_run(recipe: Recipe, saved: Recipe) -> None:
    """A run goes on as what it is: its length, rates and curriculum may change, what it builds may not.

    Raises:
        ValueError: naming what differs.
    """
    fixed = {"model", "tokenizer", "data"}
    differs = [name for name in sorted(fixed) if getattr(recipe, name) != getattr(saved, name)]
    differs += [
        f"train.{name}" for name in ("batch_size", "seed") if getattr(recipe.train, name) != getattr(saved.train, name)
    ]
    if differs:
        raise ValueError(f"the run to resume has another {', '.join(differs)}: give another --out for a new run")


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe with every default spelled out."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _override(fields: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    *sections, last = key.split(".")
    if not separator or not last:
        raise ValueError(f"an override reads section.key=value, but {override!r} was given")
    for section in sections:
        fields = fields.setdefault(section, {})
        if not isinstance(fields, dict):
            raise ValueError(f"{section!r} in the override {override!r} is no section")
    try:
        fields[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f"the value in the override {override!r} is not YAML") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{place}: {problem['msg']}"
    nearest = difflib.get_close_matches(str(problem["loc"][-1]), _all_keys(), n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"{place} is no key of a recipe{hint}"


def _all_keys() -> list[str]:
    sections = (Recipe, ModelSection, TokenizerSection, DataSection, TrainSection, Phase)
    return sorted({name for section in sections for name in section.model_fields})
