"""What a model is called that was given as a folder: `name_of`."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["name_of"]


def name_of(model: str) -> str:
    """The folder's name, or of the folder `model` in a training run the run's; a shipped name or a hub id as it is."""
    if not Path(model).is_dir():
        return model
    path = Path(os.path.abspath(model))  # "." has a name, and a link keeps its own
    return path.parent.name if path.name == "model" and path.parent.name else path.name
