"""The machine's limit: how many floating-point operations a second a large matrix product reaches."""

from __future__ import annotations

import time
from functools import lru_cache

import torch

__all__ = ["peak_flops"]

SIDE = {"cpu": 1024, "cuda": 8192}
REPEATS = 3


@lru_cache(maxsize=4)
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The best of a few products of square matrices, measured now, in operations a second."""
    side = SIDE.get(device.type, 2048)
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(REPEATS):
        _wait(device)
        started = time.perf_counter()
        matrix @ matrix
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
