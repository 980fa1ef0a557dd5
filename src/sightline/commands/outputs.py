"""Files that a command writes: one that is there already is overwritten only where the same command wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sightline.whole_file import check_writable

__all__ = ["check_out", "is_page_of"]


def check_out(path: Path, is_ours: Callable[[bytes], bool], what: str, force: bool | None = None) -> None:
    """Refuse, before anything is computed, to write over a folder or over somebody's file, or where nobody may write.

    Args:
        is_ours: whether what a file holds is `what`.
        force: whether to overwrite it all the same; None: the command has no such option.

    Raises:
        ValueError: it is a folder, or in a place that cannot be written to.
        FileExistsError: it is not `what`.
    """
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: name a file")
    if path.exists() and not force and not is_ours(path.read_bytes()):
        advice = "name another file" + ("" if force is None else ", or --force overwrites it")
        raise FileExistsError(f"{str(path)!r} exists and is not {what}: {advice}")
    check_writable(path)


def is_page_of(mark: str) -> Callable[[bytes], bool]:
    """Whether what a file holds is a page that the generator `mark` wrote."""
    meta = f'<meta name="generator" content="{mark}">'.encode()
    return lambda file: meta in file[:1000]
