"""What a figure was measured with: versions and machine, for reports. It measures nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

__all__ = ["environment", "machine_memory"]

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def environment() -> dict[str, str]:
    """Versions of Python and of what decides the figures, processor, memory, GPUs and threads."""
    versions = {name: version(name) for name in ("sightline", "torch", "transformers")}
    facts = {"python": platform.python_version(), **versions, "system": platform.platform(), "processor": _processor()}
    if memory := machine_memory():
        facts["memory"] = f"{memory / 2**30:.0f} GiB"
    if torch.cuda.is_available():
        facts["gpu"] = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
    return {**facts, "threads": str(torch.get_num_threads())}


def _processor() -> str:
    cores = f"{os.cpu_count()} cores"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return f"{next(line.partition(':')[2].strip() for line in lines if line.startswith('model name'))}, {cores}"
    except (OSError, StopIteration):
        return f"{platform.processor() or platform.machine()}, {cores}"


def machine_memory() -> int | None:
    """What this machine has, in bytes, less where a container may use less; None where the system does not say."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on every system
        return None
    allowed = _CGROUP.read_text(encoding="utf-8").strip() if _CGROUP.exists() else "max"
    return whole if allowed == "max" else min(whole, int(allowed))
