"""Where the user's caches lie: what can be made again, and may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(name: str) -> Path:
    """`sightline/NAME` below `XDG_CACHE_HOME`, or below `~/.cache` if that is not set; it need not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline" / name
