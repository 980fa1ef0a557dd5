"""`sightline train`: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.commands.options import refuse_beside

if TYPE_CHECKING:
    from sightline.training.recipe import Recipe
    from sightline.training.verify import Comparison

EXAMPLE = "Example: sightline train finetune data=photos train.batch_size=32"


def train(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="The recipe: the name of one that ships (finetune, tiny, ...), or a YAML file.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SECTION.KEY=VALUE]...",
            help="Values that replace the recipe's. data=DATA learns from DATA: a path, or PATH*WEIGHT,PATH*WEIGHT.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the run goes; runs/NAME, by the recipe's name, if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
    verify: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Take the first N steps and compare them with the recipe's log."),
    ] = None,
) -> None:
    """Train a model by a recipe."""
    from sightline.training.recipe_file import load_recipe
    from sightline.training.shipped import find_recipe

    loaded = load_recipe(recipe, overrides)
    if verify is not None:
        refuse_beside(context, ("out", "resume"), "--verify, which leaves nothing behind")
        _verify(loaded, find_recipe(recipe), verify)
        return
    from sightline.training.loop import Stopped
    from sightline.training.loop import train as run

    try:
        run(loaded, out or Path("runs") / loaded.name, resume=resume)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(stopped.code) from None


def _made_with(found: Comparison) -> str:
    if not found.environment:
        return "its log does not say what it was made with"
    return f"its log was made with {', '.join(found.differing) or 'the same versions on such a machine'}"


def _verify(recipe: Recipe, path: Path, steps: int) -> None:
    from sightline.training.verify import TOLERANCE, log_of, verify

    found = verify(recipe, log_of(path), steps)
    for step, (here, shipped) in enumerate(zip(found.here, found.shipped, strict=True), start=1):
        typer.echo(f"step {step}: loss {here:.6f} here, {shipped:.6f} in the log")
    exactly = ", to the last bit" if found.same_bits else f" (largest deviation {found.deviation:.2%})"
    if not found.reproduces:
        raise RuntimeError(
            f"this set-up does not reproduce the recipe: a loss deviates by {found.deviation:.1%}, more than "
            f"{TOLERANCE:.0%}; {_made_with(found)}"
        )
    typer.echo(f"reproduced: {steps} steps as in the log{exactly}")
