"""Where a labelled row's pictures are: files of their own are named as they lie, others get a file beside the output.

A file that is made is named after its content, so that writing it again, or from two processes, changes nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from sightline.data.conversation import Picture
from sightline.data.picture_files import file_of, write_once

__all__ = ["digest", "keep", "source_of"]


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
        return file_of(picture, sha256, folder).relative_to(folder.parent).as_posix()
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
            write_once(file_of(picture, key, folder), picture)
