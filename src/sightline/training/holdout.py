"""What a run learns from and what it is judged by: the two sides of each of its files, opened once.

It joins a recipe's files with `data.readers.sides`; what is asked of the rows that are held out is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from sightline.data.readers.sides import Sides, apart, open_sides
from sightline.training.recipe import FileSource, Recipe

__all__ = ["judged_metrics", "judged_sides", "sides_of_files", "sides_of_run"]

_opened: dict[Any, tuple[Any, Sides]] = {}


def sides_of_files(recipe: Recipe, on_row: Callable[[], None] = lambda: None) -> dict[FileSource, Sides]:
    """Both sides of each file that the recipe's stages read: what one holds out, none of them learns from.

    Runs and stages that read the same files, unchanged, get the same objects. `on_row` hears of each row that is read
    to divide them.

    Raises:
        FileNotFoundError, ValueError: as `open_sides` and `apart`.
    """
    files = dict.fromkeys(file for stage in recipe.stages for file in recipe.data_of(stage).files)
    opened = {file: _opened_sides(file, on_row) for file in files}
    different = tuple(dict.fromkeys(opened.values()))
    divided = dict(zip(different, _apart(different), strict=True))
    return {file: divided[sides] for file, sides in opened.items()}


def sides_of_run(recipe: Recipe, on_row: Callable[[], None] = lambda: None) -> list[Sides]:
    """Those of all files that its stages read, each once; raises as `sides_of_files`."""
    return list(dict.fromkeys(sides_of_files(recipe, on_row).values()))


def judged_sides(recipe: Recipe) -> list[Sides]:
    """Those of the files of the last stage that reads any, which the run is for, where rows are held out."""
    files = next((found for stage in reversed(recipe.stages) if (found := recipe.data_of(stage).files)), ())
    known = sides_of_files(recipe)
    return [sides for sides in dict.fromkeys(known[file] for file in files) if sides.held_out is not None]


def judged_metrics(recipe: Recipe) -> list[str | None]:
    """The `metric` of each of `judged_sides`, in their order."""
    files = {sides: file for file, sides in reversed(sides_of_files(recipe).items())}
    return [files[sides].metric for sides in judged_sides(recipe)]


@lru_cache(maxsize=8)
def _apart(sides: tuple[Sides, ...]) -> tuple[Sides, ...]:
    return tuple(apart(sides))


def _opened_sides(file: FileSource, on_row: Callable[[], None]) -> Sides:
    options = file.options()
    known = (file.path, file.held_out, file.validation, *options.items(), Path.cwd())
    state = _state(file.path), file.validation and _state(file.validation)
    if known not in _opened or _opened[known][0] != state:
        _opened[known] = (state, open_sides(file.path, file.held_out or 0.0, file.validation, on_row, **options))
    return _opened[known][1]


def _state(path: str) -> Any:
    """What changes when a file, or a folder's content, does."""
    place = Path(path)
    if place.is_dir():
        return sorted((one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in os.scandir(place))
    return (place.stat().st_size, place.stat().st_mtime_ns) if place.is_file() else None
