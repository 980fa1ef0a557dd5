"""Writing that loses nothing: text files that a kill or a power cut leaves as they were or as they shall be, never in
between, and folders that were new or empty.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LEFTOVER", "check_new", "write_whole"]

LEFTOVER = ".writing-"  # how the name begins of what was not finished


def check_new(folder: Path) -> None:
    """Raise a FileExistsError where `folder` is there already and not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{str(folder)!r} is there already: name a folder that is new or empty")


def write_whole(path: Path, text: str) -> None:
    """Write `text` beside `path`, wait until the disk holds it, and put it in the file's place.

    What is no Unicode, as half of a pair or a file's name may be, becomes an escape.
    """
    beside = path.with_name(LEFTOVER + path.name)
    with beside.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
