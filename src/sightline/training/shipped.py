"""The recipes that ship with the package, found by their bare names: `finetune` is `recipes/finetune.yaml`.

An installed package carries the folder inside itself; a checkout, editable or not, has it at its root.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from sightline.training.sections import hint

__all__ = ["find_recipe", "shipped_recipes"]


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship, by name, in alphabetical order."""
    package = Path(str(resources.files("sightline")))
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe, given its path or, of one that ships, its name. A file of that name goes first.

    Raises:
        FileNotFoundError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) != 1:
        raise FileNotFoundError(f"there is no recipe at {path}")
    known = shipped_recipes()
    if str(name) not in known:
        raise FileNotFoundError(
            f"there is no recipe {str(name)!r}{hint(str(name), known)}; what ships is {', '.join(known)}; your own is "
            "given by its path"
        )
    return known[str(name)]
