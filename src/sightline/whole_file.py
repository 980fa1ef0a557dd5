"""Writing that loses nothing: text files that a kill or a power cut leaves as they were or as they shall be, never in
between, and folders that were new or empty.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LEFTOVER", "check_new", "check_writable", "new_folder", "write_whole"]

LEFTOVER = ".writing-"  # how the name begins of what was not finished
_UNFINISHED = f"{LEFTOVER}all"


def check_writable(path: Path) -> None:
    """Raise ValueError where `path` could not be made: what is above it is no folder, or may not be written to."""
    above = next(one for one in (path.absolute().parent, *path.absolute().parents) if os.path.lexists(one))
    if not above.is_dir():
        raise ValueError(f"{str(path)!r} cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK):
        raise ValueError(f"{str(path)!r} cannot be written: {above} may not be written to; name another place")


def check_new(folder: Path) -> None:
    """Refuse a place for a folder that is to be made.

    Raises:
        FileExistsError: it is there already and not empty, but for what was not finished.
        ValueError: it may not be written to.
    """
    if folder.exists() and (not folder.is_dir() or any(path.name != _UNFINISHED for path in folder.iterdir())):
        raise FileExistsError(f"{str(folder)!r} is there already: name a folder that is new or empty")
    check_writable(folder / _UNFINISHED)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A place for all that is to lie in `folder`, where it is put once the `with` statement has ended well.

    Raises:
        FileExistsError, ValueError: as `check_new`.
    """
    check_new(folder)
    was_there, inside = folder.exists(), folder / _UNFINISHED
    shutil.rmtree(inside, ignore_errors=True)  # what a kill left
    inside.mkdir(parents=True)
    try:
        yield inside
        for path in inside.iterdir():
            path.rename(folder / path.name)
    except BaseException:
        shutil.rmtree(inside if was_there else folder, ignore_errors=True)
        raise
    inside.rmdir()


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
