"""Text files that a kill or a power cut leaves as they were or as they shall be, never in between."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LEFTOVER", "write_whole"]

LEFTOVER = ".writing-"  # how the name begins of what was not finished


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
