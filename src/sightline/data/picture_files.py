"""Pictures written as files of their own, named after their content: writing one again changes nothing."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

from sightline.whole_file import LEFTOVER

__all__ = ["file_of", "is_named_by_content", "write_once"]

# How files of the formats that `sightline.images` opens begin, and what their names end with.
_BEGINNINGS = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II": ".tif",
    b"MM": ".tif",
}


def file_of(content: bytes, sha256: str, folder: Path) -> Path:
    """Where in `folder` a picture with this content, whose SHA-256 is known, is to lie."""
    suffix = next((suffix for beginning, suffix in _BEGINNINGS.items() if content.startswith(beginning)), "")
    return folder / sha256[:2] / f"{sha256}{suffix}"


def is_named_by_content(path: Path) -> bool:
    """Whether it is called as `file_of` calls a picture."""
    return re.fullmatch(f"{path.parent.name}[0-9a-f]{{62}}", path.stem) is not None


def write_once(path: Path, content: bytes) -> None:
    """Write `content`, unless the file is there, and wait until the disk holds it: whole or not at all."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{LEFTOVER}{uuid.uuid4().hex}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
