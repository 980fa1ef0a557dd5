"""`tune: auto` made definite before a run begins: it counts rows and weights, asks `tuning.py`, and writes the answer
into the recipe. A resumed run does what its saved recipe says."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from sightline.config import VLMConfig
from sightline.data.readers import Data
from sightline.interop.load import load_processor, located
from sightline.interop.parts import read_config
from sightline.interop.upcycle import upcycled
from sightline.nn.vision import build_tower
from sightline.nn.vlm import VLM
from sightline.training.memory import memory_limit
from sightline.training.recipe import ModelSection, Recipe, TuneSection
from sightline.training.recipe_file import load_recipe
from sightline.training.sources import open_rows
from sightline.training.stage import place_of
from sightline.training.tuning import SMALL_TOWER, Facts, applied, choose

__all__ = ["settled"]

LOOKED_AT = 100  # rows of a file, that tell whether there are pictures


def settled(recipe: Recipe, saved: Path | None = None) -> Recipe:
    """The recipe with what is tuned written out; one that leaves nothing open as it is.

    Args:
        saved: the recipe of the run that is resumed.

    Raises:
        FileNotFoundError, ValueError: the data, the checkpoint or one of its parts cannot be read; or the run that is
            resumed tunes something else.
    """
    tune = recipe.tune
    if tune is None or tune.is_settled:
        return recipe
    if saved is not None and saved.is_file() and (before := load_recipe(saved).tune) is not None:
        _check_same(tune, before)
        return applied(recipe, before)
    if tune.what == "auto":
        chosen = choose(_facts(recipe))
        if chosen.what == "lora" and tune.rank is not None:
            chosen = chosen.model_copy(update={"rank": tune.rank})
    else:
        chosen = tune.model_copy(update={"because": "the recipe says so"})
    return applied(recipe, chosen.model_copy(update={"fast": _is_fast(recipe, chosen.what, tune.fast)}))


def _check_same(tune: TuneSection, before: TuneSection) -> None:
    """Refuse another choice than the one that the run to resume was begun with."""
    others = tune.what not in ("auto", before.what) or tune.fast not in (None, before.fast)
    if others or (before.what == "lora" and tune.rank not in (None, before.rank)):
        raise ValueError(f"the run to resume has another tune ({before}): give another --out")


def _is_fast(recipe: Recipe, what: str, wanted: bool | None) -> bool:
    """Whether what is tuned moves faster than a large model as a whole should."""
    if wanted is not None or what in ("projector", "lora"):
        return wanted is not False
    return what == "joint" and _parameters(recipe.model)[1] < SMALL_TOWER


def _facts(recipe: Recipe) -> Facts:
    files = open_rows(recipe)
    endless = not files or any(rows.is_streamed for rows in files)
    tuned, frozen = _parameters(recipe.model)
    return Facts(
        rows=None if endless else sum(map(len, files)),
        pictures=not files or any(map(_show_pictures, files)),
        tuned=tuned,
        frozen=frozen,
        memory=memory_limit(place_of(recipe)[0]),
        has_peft=find_spec("peft") is not None,
        new_words=recipe.model.new_words > 0,
    )


def _show_pictures(rows: Data) -> bool:
    """Whether any of `LOOKED_AT` rows from all over the file does; of what is read in its order, of the first ones."""
    if not rows.is_in_order_only:
        count = min(LOOKED_AT, len(rows))
        rows = rows.subset([place * len(rows) // count for place in range(count)])
    return any(row.images for row in islice(rows, LOOKED_AT))


def _parameters(section: ModelSection) -> tuple[int, int]:
    """Parameters of projector and language model, and of the tower; no weight is read."""
    if section.checkpoint is not None:
        config, _ = load_processor(section.checkpoint)
        config = VLMConfig.from_dict(config.to_dict())
        if section.upcycle:
            config = upcycled(config, section.upcycle.n_routed_experts, section.upcycle.num_experts_per_token)
        with torch.device("meta"):
            model: nn.Module = VLM(config)
        frozen = sum(p.numel() for name, p in model.named_parameters() if name.startswith("vision_encoder."))
        return sum(p.numel() for p in model.parameters()) - frozen, frozen
    assert section.language is not None
    assert section.vision is not None
    return _language_parameters(section.language), _tower_parameters(section.vision)


def _language_parameters(source: str) -> int:
    config = read_config(source, "language model")
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


def _tower_parameters(source: str) -> int:
    config: Any = read_config(located(source), "vision tower")
    with torch.device("meta"):
        return sum(p.numel() for p in build_tower(getattr(config, "vision_config", config)).parameters())
