"""How much memory a piece of work takes at its peak, whatever this process had taken before."""

import contextlib
import gc
import resource
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _field(name):
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _peak():
    """Bytes: where Linux tells it, since `_reset`; else since the process began, which large work earlier can hide."""
    if _STATUS.exists():
        return _field("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _reset():
    """Let the peak be what there is now. Where that is not allowed, it stays."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


@contextlib.contextmanager
def bounded_memory(most_bytes):
    """Nothing as large is made meanwhile, not even for a moment."""
    gc.collect()  # what earlier work has left must not be freed meanwhile, and hide what is made
    _reset()
    before = _peak()
    yield
    grown = _peak() - before
    assert grown < most_bytes, f"{grown / 2**20:.0f} MiB more were taken"
