"""How much memory a run uses and has, on the processor or a GPU, in bytes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from sightline.evaluation.environment import machine_memory

__all__ = ["SavedForBackward", "memory_limit", "memory_used", "peak_memory", "reset_peak"]

_RESIDENT = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def memory_used(device: torch.device) -> int:
    """What is held now: allocated on the GPU, or resident on the processor."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if _RESIDENT.exists():
        return int(_RESIDENT.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_memory(device)


def peak_memory(device: torch.device) -> int:
    """The most that was held since `reset_peak`, or since the process began where that cannot be reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource  # there is none on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak(device: torch.device) -> None:
    """Let `peak_memory` begin anew: on a GPU, and on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access(_RESET, os.W_OK):
        _RESET.write_text("5")  # proc(5): resets the peak resident set size


def memory_limit(device: torch.device) -> int:
    """What there is for this process: of a GPU what is free and what it holds, or the processor's memory.

    Others may use the same GPU; and a container may use less than its processor has.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    memory = machine_memory()
    return sys.maxsize if memory is None else memory  # a system that does not say sets no limit here


class SavedForBackward:
    """Counts, while it is entered, the bytes that forward passes keep for their backward passes."""

    def __init__(self, model: nn.Module):
        self.bytes = 0
        self._seen = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda saved: saved)

    def __enter__(self) -> SavedForBackward:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor
