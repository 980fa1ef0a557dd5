"""Which edition of the world this is: `edition`.

A world gives the same pictures and questions for the same seed as long as its code and its assets stay the same.
"""

import hashlib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

__all__ = ["edition"]

_ASSETS = ("atlas", "fonts", "digits")  # things with their names and drawings, letters, digits with their labels


@cache
def edition() -> str:
    """A digest of the world's code and assets: after a change of any of them, another one."""
    package = resources.files("sightline")
    folders = (package.joinpath("assets", name) for name in _ASSETS)
    assets = (file for folder in folders for file in sorted(folder.iterdir(), key=lambda file: file.name))
    files = [*_sources(package.joinpath("data", "scenes")), *assets]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _sources(folder: Traversable) -> list[Traversable]:
    """Its Python files, and those of the folders in it, by name."""
    inside = sorted(folder.iterdir(), key=lambda entry: entry.name)
    files = [entry for entry in inside if entry.name.endswith(".py")]
    return files + [file for entry in inside if entry.is_dir() for file in _sources(entry)]
