"""Sightline trains, runs and serves vision-language models on the machine you have.

Importing it costs next to nothing: torch and transformers are imported when something that needs them is
used. As soon as transformers' Auto classes are imported, ours are registered with them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sightline import _auto_classes

if TYPE_CHECKING:
    from sightline.config import LLMConfig, VLLMconfig, VLMConfig, llmconfig
    from sightline.engine.engine import Engine
    from sightline.engine.quantize import quantize
    from sightline.engine.request import Reply, SamplingParams
    from sightline.interop.load import load
    from sightline.nn.language import LLM, CausalLM
    from sightline.nn.projector import VisionEncoder
    from sightline.nn.vlm import VLM
    from sightline.processor import VLMProcessor

__version__ = "0.1.0"

_HOMES = {
    "LLM": "sightline.nn.language",
    "CausalLM": "sightline.nn.language",
    "Engine": "sightline.engine.engine",
    "LLMConfig": "sightline.config",
    "Reply": "sightline.engine.request",
    "SamplingParams": "sightline.engine.request",
    "VLM": "sightline.nn.vlm",
    "VLMConfig": "sightline.config",
    "VLLMconfig": "sightline.config",
    "VLMProcessor": "sightline.processor",
    "VisionEncoder": "sightline.nn.projector",
    "llmconfig": "sightline.config",
    "quantize": "sightline.engine.quantize",
    "load": "sightline.interop.load",
}
__all__ = [
    "LLM",
    "VLM",
    "CausalLM",
    "Engine",
    "LLMConfig",
    "Reply",
    "SamplingParams",
    "VLLMconfig",
    "VLMConfig",
    "VLMProcessor",
    "VisionEncoder",
    "llmconfig",
    "load",
    "quantize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sightline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


_auto_classes.register_when_imported()
