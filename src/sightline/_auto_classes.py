"""Registers our classes with transformers' Auto classes, once those are imported and not before.

A finder on `sys.meta_path` watches the modules of both sides. It imports nothing by itself except our half of a
pair whose Auto half has just been loaded.
"""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_AUTO = "transformers.models.auto"


def _configs(auto: Any, ours: Any) -> None:
    auto.AutoConfig.register("sightline_llm", ours.LLMConfig, exist_ok=True)
    auto.AutoConfig.register("sightline_vlm", ours.VLMConfig, exist_ok=True)


def _models(auto: Any, ours: Any) -> None:
    language = sys.modules["sightline.nn.language"]
    auto.AutoModelForCausalLM.register(language.LLMConfig, language.CausalLM, exist_ok=True)
    auto.AutoModelForImageTextToText.register(ours.VLMConfig, ours.VLM, exist_ok=True)
    importlib.import_module("sightline.engine.quantize")  # tells transformers how int8 checkpoints load


def _processors(auto: Any, ours: Any) -> None:
    auto.AutoProcessor.register(ours.VLMConfig, ours.VLMProcessor, exist_ok=True)


# (module of transformers, module of ours, what to do when both are there)
_PAIRS: tuple[tuple[str, str, Callable[[Any, Any], None]], ...] = (
    (f"{_AUTO}.configuration_auto", "sightline.config", _configs),
    (f"{_AUTO}.modeling_auto", "sightline.nn.vlm", _models),
    (f"{_AUTO}.processing_auto", "sightline.processor", _processors),
)
# These lead to the Auto classes halfway through their own import, and our models need all of them.
_HALFWAY = (
    "transformers.modeling_layers",
    "transformers.modeling_utils",
    "transformers.generation.utils",
    "sightline.nn.language",
    "sightline.nn.vision",
)
_WATCHED = {*(name for auto, ours, _ in _PAIRS for name in (auto, ours)), *_HALFWAY}


def register_when_imported() -> None:
    """Register now what is already imported, and the rest when it is."""
    if any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Watcher())
    _register()


_done: set[str] = set()


def _register() -> None:
    """Register every pair of which both halves are there; import our half where theirs waits for it."""
    for auto, ours, register in _PAIRS:
        if auto in _done or not _is_loaded(auto):
            continue
        if _is_loaded(ours):
            _done.add(auto)
            register(sys.modules[auto], sys.modules[ours])
        elif ours not in sys.modules and not any(name in sys.modules and not _is_loaded(name) for name in _HALFWAY):
            importlib.import_module(ours)  # comes back here when it is loaded


def _is_loaded(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(module.__spec__, "_initializing", False)


class _Watcher(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _WATCHED:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Then(spec.loader)
                return spec
        return None


class _Then(importlib.abc.Loader):
    """Another loader, after whose work the module's classes are registered."""

    def __init__(self, loader: Any):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        assert module.__spec__ is not None
        # Executed in full, so it counts as loaded, though the import system still has to say so.
        module.__spec__._initializing = False  # type: ignore[attr-defined]
        _register()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
