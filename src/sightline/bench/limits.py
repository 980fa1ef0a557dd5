"""What this machine can do at best: matrix products and memory traffic, measured now.

Figures of a model mean little without them. It knows no model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch

__all__ = ["copy_rate", "matmul_rate", "timed"]

SIDE, ACCELERATED_SIDE = 1024, 8192  # of a matrix: its product must take longer than to ask for it
COPIED = 2**29  # bytes: more than a cache holds
LEAST = 0.01  # seconds of a timing: the wait at its end must not count


def timed(work: Callable[[], object], repeats: int = 7) -> float:
    """The median time of `work` in seconds, after one run that warms up."""
    work()
    return median(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.accelerator.is_available():  # what was handed to CUDA or Metal is not done yet
        torch.accelerator.synchronize()
    return time.perf_counter() - started


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large square matrix product."""
    side = SIDE if device.type == "cpu" else ACCELERATED_SIDE
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / _each(lambda: left @ right)


def copy_rate(device: torch.device) -> float:
    """Bytes a second that memory reads and writes together, by copying a block that fits no cache."""
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / _each(lambda: target.copy_(source))


def _each(work: Callable[[], object]) -> float:
    """The seconds that `work` takes, done so often in a row that it takes `LEAST` in all."""

    def repeated(times: int) -> None:
        for _ in range(times):
            work()

    times = 1
    while (taken := timed(partial(repeated, times), 3)) < LEAST:
        times *= 2
    return taken / times
