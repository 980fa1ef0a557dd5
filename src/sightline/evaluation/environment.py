"""What a figure was measured with: versions and machine, for reports. It measures nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

__all__ = ["environment", "machine_memory"]

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


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
    """What this machine has, in bytes, less where its control groups allow less; None where the system does not say."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on every system
        return None
    return min([whole, *_allowed()])


def _allowed() -> Iterator[int]:
    """Bytes that this process's control groups and those around them allow: a container's, a batch job's, a service's.

    Of version 2 there is one hierarchy, of version 1 one for memory (the kernel's admin-guide/cgroup-v2 and -v1).
    """
    yield from _limits(_CONTROL_GROUPS, "memory.max")  # a container's own, whatever it calls itself
    lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines() if _OWN_GROUPS.exists() else []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        root, file = _CONTROL_GROUPS, "memory.max"
        if controllers:
            root, file = _CONTROL_GROUPS / "memory", "memory.limit_in_bytes"
        if controllers in ("", "memory"):
            own = root / group.lstrip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(root):
                    yield from _limits(folder, file)


def _limits(folder: Path, file: str) -> Iterator[int]:
    path = folder / file
    if path.is_file() and (told := path.read_text(encoding="utf-8").strip()).isdecimal():
        yield int(told)
