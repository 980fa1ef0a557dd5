"""One process at a time in a folder: `sole_writer`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LOCK", "sole_writer"]

LOCK = ".lock"


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold `folder` until the block is left or this process ends, however it ends.

    The lock is the process's own: worker processes that outlive a killed one do not keep it.

    Raises:
        FileExistsError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has none, and there two processes in one folder are the user's to avoid
        yield
        return
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"another process is writing {folder}: wait for it, or give another --out") from None
        except OSError:
            pass  # a file system without locks
        yield
