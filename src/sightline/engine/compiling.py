"""torch.compile where this machine has a compiler for it: which one, where its results are kept, what if it fails.

It knows functions of tensors, not what they compute.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Compiled", "cache_folder", "compiler_status", "keep_results", "mark_dynamic", "mark_static"]

_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class _Found(NamedTuple):
    """A compiler's name and version, or what is missing and how to get it."""

    compiler: str | None
    missing: str = ""


def compiler_status(device: torch.device | str) -> str:
    """One line: what `torch.compile` would use on `device`, or why it would not run and what to install."""
    found = _find(torch.device(device).type)
    return f"torch.compile: {found.compiler}" if found.compiler else f"eager: {found.missing}"


def _find(device: str) -> _Found:
    if device not in ("cpu", "cuda"):
        return _Found(None, f"torch.compile is used on cpu and cuda, not on {device}")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return _Found(None, "no Python headers (install python3-dev, or your system's package of that kind)")
    return _find_triton() if device == "cuda" else _find_cpp()


def _find_cpp() -> _Found:
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    name = os.environ.get("CXX") or usual
    path = shutil.which(name)
    if path is None:
        return _Found(None, f"no C++ compiler (install {usual})" if name == usual else f"no C++ compiler at CXX={name}")
    return _Found(f"{Path(name).name} {_version_of(path)}".strip())


def _find_triton() -> _Found:
    if importlib.util.find_spec("triton") is None:
        return _Found(None, "no triton (install triton)")
    if not any(shutil.which(name) for name in (os.environ.get("CC") or "cc", "gcc", "clang")):
        return _Found(None, "no C compiler, which triton needs (install gcc)")
    return _Found(f"triton {importlib.metadata.version('triton')}, CUDA graphs")


def _version_of(compiler: str) -> str:
    """As "12.2.0"; nothing where the compiler does not tell."""
    command = [compiler, "-dumpfullversion", "-dumpversion"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 and len(done.stdout) < 40 else ""


def cache_folder() -> Path:
    """Where compiled code is kept between runs: `$XDG_CACHE_HOME/sightline`, or `~/.cache/sightline`."""
    # The base directory specification tells to ignore relative paths.
    root = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (root if root.is_absolute() else Path.home() / ".cache") / "sightline"


def keep_results() -> None:
    """Let torch keep what it compiles in `cache_folder()`, unless it was told another place."""
    told = os.environ.get(_CACHE_VARIABLE)
    # torch itself sets the variable to a temporary folder as soon as it needs one.
    if told and not (Path(told).parent == Path(tempfile.gettempdir()) and Path(told).name.startswith("torchinductor_")):
        return
    folder = cache_folder() / "inductor"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        warnings.warn(f"compiled code is not kept: {folder} cannot be made ({error.strerror})", stacklevel=2)
        return
    os.environ[_CACHE_VARIABLE] = str(folder)


class Compiled:
    """`function`, compiled at its first call; `function` as it is, after a warning, where that is not possible.

    The function is called again where compiling failed, so what it changes it must change alike each time.

    Args:
        fixed: parameters that are alike in all calls, like whatever else the function reads: shapes, dtypes, strides,
            attributes. They are not looked at again, which for a model's weights takes as long as a few layers.
        graphs: on CUDA, replay whole runs as CUDA graphs. Results are then overwritten by the next call.
    """

    def __init__(
        self, function: Callable[..., Any], device: torch.device, graphs: bool = False, fixed: Collection[str] = ()
    ):
        self._function = function
        self._compiled: Callable[..., Any] | None = None
        self.graphs = graphs and device.type == "cuda"
        found = _find(device.type)
        if found.compiler is None:
            _warn(found.missing)
            return
        keep_results()
        options: dict[str, Any] = {"triton.cudagraphs": self.graphs}
        own: dict[str, Any] = {}
        if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
            own = {"isolate_recompiles": True}
            # Only what is this object's own can do without checks: else another engine's code would be taken for it.
            changing = set(inspect.signature(function).parameters) - {*fixed}
            options["guard_filter_fn"] = partial(_guards_on, changing)
        self._compiled = torch.compile(function, fullgraph=True, options=options, **own)

    @property
    def is_compiled(self) -> bool:
        """False once it has fallen back."""
        return self._compiled is not None

    def __call__(self, *args: Any) -> Any:
        if self._compiled is None:
            return self._function(*args)
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        try:
            return self._compiled(*args)
        except Exception as error:
            return self._compiled(*args) if _remove_broken(error) else self._fall_back(error, *args)

    def _fall_back(self, error: Exception, *args: Any) -> Any:
        result = self._function(*args)  # an error of the function's own is raised again here
        self._compiled = None
        _warn(f"torch.compile failed ({_first_line(error)})")
        return result


def mark_dynamic(*tensors: Tensor, dim: int = 0) -> None:
    """Compile for any size of this dimension at once; 1 stays a case of its own."""
    for tensor in tensors:
        if tensor.shape[dim] > 1:
            torch._dynamo.maybe_mark_dynamic(tensor, dim)


def mark_static(tensors: Iterable[Tensor]) -> None:
    """These stay where they are: CUDA graphs read them there instead of copying them before each run."""
    for tensor in tensors:
        torch._dynamo.mark_static_address(tensor)


def _guards_on(changing: Collection[str], guards: Sequence[Any]) -> list[bool]:
    """Of what the compiler would check in each call: the tensors in `changing`, and torch's own state ('')."""
    return [not guard.name or (guard.name in changing and guard.guard_type == "TENSOR_MATCH") for guard in guards]


def _remove_broken(error: Exception) -> bool:
    """Remove the kept library that `error` is about, if it is: killed while it was written, it would stay broken."""
    found = re.search(r"ImportError: (.+?\.so): ", str(error))
    path = Path(found[1]) if found else None
    if path is None or Path(os.environ.get(_CACHE_VARIABLE, "")) not in path.parents or not path.exists():
        return False
    path.unlink()
    return True


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _warn(reason: str) -> None:
    warnings.warn(f"running eagerly: {reason}", RuntimeWarning, stacklevel=3)
