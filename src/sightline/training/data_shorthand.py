"""What `data=...` on the command line is short for: a path, or several with weights, as a recipe's `data.files`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["files_of"]


def files_of(text: str) -> list[dict[str, Any]]:
    """The files that `text` names: `PATH`, or `PATH*WEIGHT,PATH*WEIGHT`, of which a weight that is not given is 1.

    Weights say how the files are mixed with each other; together they weigh 1 against the built-in world, as one file
    does. A path that holds a comma or an asterisk is taken whole where something lies there.

    Raises:
        ValueError: a path is missing, or a weight is no positive number.

    >>> files_of("photos*3,rows.jsonl")
    [{'path': 'photos', 'weight': 0.75}, {'path': 'rows.jsonl', 'weight': 0.25}]
    """
    parts = [text] if _is_there(text) else text.split(",")
    found = [_weighed(part.strip(), text) for part in parts]
    total = sum(weight for _, weight in found)
    return [{"path": path, "weight": weight / total} for path, weight in found]


def _weighed(part: str, text: str) -> tuple[str, float]:
    path, asterisk, weight = (part, "", "") if _is_there(part) else part.rpartition("*")
    if not asterisk:
        path, weight = part, "1"
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not path or not 0 < value < float("inf"):
        raise ValueError(f"data= takes PATH or PATH*WEIGHT,PATH*WEIGHT with weights above 0, but {text!r} was given")
    return os.path.expanduser(path), value  # no shell does it behind a "data="


def _is_there(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # too long a name, or a zero byte in it
        return False
