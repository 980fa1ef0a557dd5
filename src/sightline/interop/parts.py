"""A pretrained tower and a pretrained language model, read from where they are.

A tower stands in a folder or on the hub, or in a checkpoint of ours; a language model in a folder, on the hub, or in
a GGUF file, whose blocks are dequantised. How the two are joined is `compose.py`'s.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from sightline.config import VLMConfig
from sightline.image_processing import default_image_processor
from sightline.interop.load import load, located
from sightline.nn.vision import build_tower, get_vision_model

__all__ = ["load_language", "load_tokenizer", "load_tower", "read_config"]

# LLaVA reads CLIP one block early: the last one serves [CLS] alone, which is dropped. SigLIP has none.
_FEATURE_LAYER = {"clip_vision_model": -2, "siglip_vision_model": -1}


def load_tower(source: str | Path) -> tuple[Any, dict[str, Any], int]:
    """The tower at `source`, how its pictures are prepared, and the layer whose features are read.

    Raises:
        FileNotFoundError: there is no checkpoint, or a file of it is missing.
        ValueError: it is neither CLIP nor SigLIP, nor a checkpoint of ours, or lacks a weight.
    """
    source = located(source)
    if isinstance(read_config(source, "vision tower"), VLMConfig):
        return _own_tower(source)
    try:
        tower, processor = get_vision_model(source)
    except OSError as error:
        raise FileNotFoundError(f"the vision tower {str(source)!r} is incomplete: {_first_line(error)}") from None
    layer = _FEATURE_LAYER[tower.config.vision_config.model_type]
    return tower, getattr(processor, "image_processor", processor).to_dict(), layer


def _own_tower(source: str | Path) -> tuple[Any, dict[str, Any], int]:
    """The tower of a checkpoint of ours, as it was trained: which layer was read, too."""
    model, _ = load(str(source), device="cpu", dtype=torch.float32)
    trained: Any = model.vision_encoder
    tower = build_tower(model.config.vision_config)
    tower.vision_model.load_state_dict(trained.vision_model.state_dict())
    return tower, default_image_processor(model.config).to_dict(), model.config.vision_feature_layer


def load_language(source: str | Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights of the language model at `source`.

    Raises:
        FileNotFoundError: there is no checkpoint, or a part of it is missing.
        ValueError: a weight is missing.
    """
    folder, extra = _with_gguf(source)
    if extra:
        extra["quantization_config"] = GgufConfig(dequantize=True)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, trust_remote_code=False, **extra
        )
    except OSError as error:
        raise FileNotFoundError(f"the language model {str(source)!r} is incomplete: {_first_line(error)}") from None
    model, info = loaded
    if info["missing_keys"]:
        raise ValueError(f"the language model {str(source)!r} lacks the weight {min(info['missing_keys'])}")
    return model.state_dict()


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of the language model at `source`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not byte-level.
    """
    folder, extra = _with_gguf(source)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **extra)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"there is no tokenizer with {str(source)!r}: {_first_line(error)}") from None
    # transformers makes an empty one for some families.
    if len(tokenizer) <= len(tokenizer.get_added_vocab()):
        raise FileNotFoundError(f"there is no tokenizer with {str(source)!r}: save the model's own beside it")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or "ByteLevel" not in str(backend.pre_tokenizer):
        raise ValueError(
            f"the tokenizer of {str(source)!r} is not byte-level, as those of Llama 3, Qwen and SmolLM are"
        )
    return tokenizer


def read_config(source: str | Path, kind: str) -> PreTrainedConfig:
    """The config at `source`. What looks like a path is not looked for on the hub.

    Raises:
        FileNotFoundError: there is none; `kind` says of what.
        ImportError: it is a GGUF file, and the package for it is not installed.
    """
    folder, extra = _with_gguf(source)
    looks_local = str(source).startswith(("/", ".", "~")) or str(source).count("/") != 1
    if looks_local and not (Path(source).is_file() if extra else Path(source).is_dir()):
        raise FileNotFoundError(f"there is no {kind} at {str(source)!r}: give a folder or a hub id")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **extra)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"there is no {kind} at {str(source)!r}: {_first_line(error)}") from None
    if extra and hasattr(config, "_model_name_or_path"):
        del config._model_name_or_path  # the file's title, which says nothing about the arithmetic
    return config


def _with_gguf(source: str | Path) -> tuple[str | Path, dict[str, Any]]:
    """The folder or hub id, and what transformers must be told besides to read a GGUF file."""
    if Path(source).suffix != ".gguf":
        return source, {}
    # accelerate is asked for by transformers, but only once the weights' turn has come.
    if missing := [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]:
        raise ImportError(
            f"{str(source)!r} is a GGUF file, which needs {' and '.join(missing)}: pip install 'sightline[convert]'"
        )
    return Path(source).parent, {"gguf_file": Path(source).name}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
