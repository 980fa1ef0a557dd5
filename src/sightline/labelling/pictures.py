"""Where a labelled row's pictures are: files of their own are named as they lie, others get a file beside the output.

A file that is made is named after its content, so that writing it again, or from two processes, changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from sightline.labelling.question import Picture
from sightline.whole_file import LEFTOVER

__all__ = ["digest", "keep", "source_of"]

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


def digest(picture: Picture) -> str:
    """SHA-256 of the picture's file, or of its data URI as it is written. Raises OSError where it cannot be read."""
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).hexdigest()
    if picture[:5].lower() == "data:":
        return hashlib.sha256(picture.encode()).hexdigest()
    with open(picture, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_of(picture: Picture, sha256: str, folder: Path) -> str:
    """What a row in a file beside `folder` says: a path relative to the file's place, or a data URI."""
    place = folder.parent.resolve()
    if isinstance(picture, bytes):
        return _file_of(picture, sha256, folder).relative_to(folder.parent).as_posix()
    if picture[:5].lower() == "data:":
        return picture
    try:
        return Path(os.path.relpath(picture, place)).as_posix()
    except ValueError:  # on Windows, of another drive
        return picture


def keep(pictures: Sequence[Picture], sha256: Sequence[str], folder: Path) -> None:
    """Write those that are no files of their own into `folder`, and wait until the disk holds them."""
    for picture, key in zip(pictures, sha256, strict=True):
        if isinstance(picture, bytes):
            path = _file_of(picture, key, folder)
            if not path.exists():
                _write(path, picture)


def _file_of(content: bytes, sha256: str, folder: Path) -> Path:
    suffix = next((suffix for beginning, suffix in _BEGINNINGS.items() if content.startswith(beginning)), "")
    return folder / sha256[:2] / f"{sha256}{suffix}"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{LEFTOVER}{uuid.uuid4().hex}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
