"""`load`: from a name to a model and its processor, on the right device and in the right dtype.

It decides where the files are and whose format they have. The conversions themselves are beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, PreTrainedConfig
from transformers.utils import logging

from sightline.interop.llava import vlm_from_llava
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["DEFAULT_MODEL", "best_device", "best_dtype", "load"]

DEFAULT_MODEL = "sightline-tiny"


def load(
    name: str | Path = DEFAULT_MODEL, device: str = "auto", dtype: str | torch.dtype = "auto"
) -> tuple[VLM, VLMProcessor]:
    """A model in eval mode, and its processor.

    Args:
        name: `sightline-tiny` (ships with the package), a folder, or a hub id: one of our own checkpoints or a
            transformers Llava checkpoint.
        device: `auto` is cuda, else mps, else cpu.
        dtype: `auto` is bfloat16 where the device multiplies it natively, else float32.

    Raises:
        FileNotFoundError: there is no such folder, and no such model on the hub or in its cache.
        ValueError: the checkpoint is of a kind that cannot be loaded, or the device or dtype does not exist.
    """
    place = best_device() if device == "auto" else _device(device)
    kind = best_dtype(place) if dtype == "auto" else _dtype(dtype)
    source = _locate(name)
    config = _read_config(source, name)
    model: nn.Module
    with _without_progress_bar():
        if config.model_type == "sightline_vlm":
            model, processor = VLM.from_pretrained(source, dtype=kind), VLMProcessor.from_pretrained(source)
        elif config.model_type == "llava":
            model, processor = _load_llava(source, config)
        else:
            raise ValueError(f"{name} is a {config.model_type!r} checkpoint; what loads is sightline_vlm and llava")
    return cast(VLM, nn.Module.to(model, place, kind).eval()), processor


def _load_llava(source: str, config: Any) -> tuple[VLM, VLMProcessor]:
    model = vlm_from_llava(source)
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    processor = VLMProcessor(
        AutoImageProcessor.from_pretrained(source, backend="pil"),
        tokenizer,
        image_token=tokenizer.convert_ids_to_tokens(config.image_token_id),
        num_image_tokens=model.config.num_image_tokens,
    )
    return model, processor


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """transformers draws one for each model, also for one that loads at once."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def best_device() -> torch.device:
    """The fastest device that is there."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively; emulated, it is a hundred times slower than float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        # x86 says so through these two; on Arm, oneDNN does.
        x86 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        native = x86 or (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def _device(name: str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError:
        raise ValueError(f"there is no device {name!r}: give auto, cpu, cuda or mps") from None


def _dtype(given: str | torch.dtype) -> torch.dtype:
    kind = getattr(torch, given, None) if isinstance(given, str) else given
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"there is no dtype {given!r}: give auto, float32, bfloat16 or float16")
    return kind


def _locate(name: str | Path) -> str:
    if str(name) == DEFAULT_MODEL:
        return str(resources.files("sightline") / "assets" / DEFAULT_MODEL)
    return str(name)


def _read_config(source: str, name: str | Path) -> PreTrainedConfig:
    looks_local = Path(source).is_absolute() or str(name).startswith((".", "~")) or str(name).count("/") != 1
    if not Path(source).is_dir() and (looks_local or Path(source).exists()):
        raise FileNotFoundError(f"there is no model {str(name)!r}: give sightline-tiny, a folder or a hub id")
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
            raise FileNotFoundError(f"the folder {str(name)!r} holds no model: there is no config.json in it") from None
        if Path(source).is_dir():
            raise ValueError(f"the config.json of {str(name)!r} cannot be read: {_first_line(error)}") from None
        raise FileNotFoundError(f"there is no model {str(name)!r} here or on the hub: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def count_parameters(model: PreTrainedModel) -> dict[str, int]:
    """Parameters by part: tower, projector, language model (tied weights once)."""
    parts = {"vision tower": "vision_encoder.", "projector": "vision_proj."}
    counts = dict.fromkeys([*parts, "language model"], 0)
    for name, parameter in model.named_parameters():
        part = next((part for part, prefix in parts.items() if name.startswith(prefix)), "language model")
        counts[part] += parameter.numel()
    return counts
