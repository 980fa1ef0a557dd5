"""`sightline train`: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: sightline train recipes/tiny.yaml train.batch_size=32"


def train(
    recipe: Annotated[str, typer.Argument(help="The recipe, a YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Values that replace the recipe's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the run goes; runs/NAME if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
) -> None:
    """Train a model by a recipe."""
    from sightline.training.recipe import load_recipe

    loaded = load_recipe(recipe, overrides)
    from sightline.training.loop import train as run

    run(loaded, out or Path("runs") / loaded.name, resume=resume)
