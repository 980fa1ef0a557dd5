"""`load`: from a name to a model and its processor, on the right device and in the right dtype.

It decides where the files are and whose format they have. The conversions themselves are beside it, as is what keeps
a stranger's checkpoint from doing harm (`screening.py`).
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, ProcessorMixin
from transformers.utils import logging

from sightline.config import VLMConfig
from sightline.engine.quantize import is_quantized
from sightline.engine.quantize import quantize as to_int8
from sightline.interop.screening import screen_config, screen_descriptions, screen_processor, screen_weights
from sightline.manifest import check_weights
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor

__all__ = [
    "DEFAULT_MODEL",
    "best_device",
    "best_dtype",
    "load",
    "load_processor",
    "located",
    "named_dtype",
    "pick_device",
    "stored_dtype",
]

DEFAULT_MODEL = "sightline-tiny"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    quantize: str | None = None,
) -> tuple[VLM, ProcessorMixin]:
    """A model in eval mode, and its processor (`VLMProcessor`; of a Llava checkpoint, transformers' own).

    Args:
        name: `sightline-tiny` (ships with the package), a folder (of a training run: the model it ended with), or
            a hub id: one of our own checkpoints or a transformers Llava checkpoint.
        device: `auto` is cuda, else mps, else cpu.
        dtype: `auto` is bfloat16 where the device multiplies it natively, else float32.
        quantize: `int8` makes the language blocks' weights int8, `torchao` does so with torchao's layers, on a GPU
            (`engine.quantize`); of a checkpoint that is int8 already, they stay as they are.

    Raises:
        FileNotFoundError: there is no such folder, and no such model on the hub or in its cache.
        ImportError: torchao is asked for and not installed.
        ValueError: the checkpoint is of a kind that cannot be loaded, brings code or contradicts itself; the device,
            dtype or quantisation does not exist; torchao is asked for on a CPU or for a mixture of experts; or the
            weights of a run's checkpoint are not those that its manifest tells of.
    """
    if quantize not in (None, "int8", "torchao"):
        raise ValueError(f"there is no quantisation {quantize!r}: give int8, or torchao on a GPU")
    place = pick_device(device)
    if quantize == "torchao" and place.type == "cpu":
        raise ValueError("quantize='torchao' is for a GPU, and this is a CPU: take quantize='int8'")
    kind = best_dtype(place) if dtype == "auto" else named_dtype(dtype)
    source = located(name)
    with _without_progress_bar(), _in_one_line(source, name):
        model, processor = _load(source, str(name), kind)
    if quantize == "int8" and not is_quantized(model):
        to_int8(model)
    model = cast(VLM, nn.Module.to(model, place).eval())
    if quantize == "torchao" and not is_quantized(model):
        to_int8(model, backend="torchao")
    return model, processor


def load_processor(name: str | Path) -> tuple[VLMConfig, VLMProcessor]:
    """The configuration and the processor of one of our own models, without its weights.

    Raises:
        FileNotFoundError: as `load`.
        ValueError: the checkpoint is of another kind; or as `load`.
    """
    source = located(name)
    with _in_one_line(source, name):
        _check_place(source, name)
        screen_descriptions(source, str(name))
        config = _read_config(source, name)
        if not isinstance(config, VLMConfig):
            raise ValueError(f"{name} is a {config.model_type!r} checkpoint; a sightline_vlm is needed here")
        processor = _processor(source)
        if not isinstance(processor, VLMProcessor):
            raise ValueError(f"{name} was loaded from a Llava checkpoint and keeps its processor; ours is needed here")
        return config, processor


def stored_dtype(name: str | Path) -> torch.dtype:
    """What the weights at `name` are written in; float32 where its configuration does not say.

    Raises:
        FileNotFoundError, ValueError: as `load`.
    """
    source = located(name)
    with _in_one_line(source, name):
        _check_place(source, name)
        screen_descriptions(source, str(name))
        found = _read_config(source, name).dtype
    return found if isinstance(found, torch.dtype) else torch.float32


def _processor(source: str) -> ProcessorMixin:
    """Ours, or Llava's own where a model that was loaded from a Llava checkpoint was saved beside it."""
    from sightline.interop.llava_processor import BoundedLlavaProcessor

    saved, _ = ProcessorMixin.get_processor_dict(source)
    kind: Any = BoundedLlavaProcessor if saved.get("processor_class") == "LlavaProcessor" else VLMProcessor
    return kind.from_pretrained(source, backend="pil", trust_remote_code=False)


def _load(source: str, name: str, dtype: torch.dtype) -> tuple[VLM, ProcessorMixin]:
    """The dtype is the loader's to apply: `model.to(dtype)` would also round what must stay in float32 (the rotary
    frequencies, a router's selection bias).
    """
    _check_place(source, name)
    described = screen_descriptions(source, name)
    if described and described.get("model_type") not in ("sightline_vlm", "llava"):
        raise ValueError(
            f"{name} is a {described.get('model_type')!r} checkpoint; what loads is sightline_vlm and llava"
        )
    held = screen_weights(source, described, name) if described else 0
    check_weights(Path(source))
    config = _read_config(source, name)
    model: VLM
    processor: Any
    if config.model_type == "sightline_vlm":
        model = _whole(VLM, config, source, name, dtype, held)
        processor = _processor(source)
    else:
        model, processor = _load_llava(config, source, name, dtype, held)
    screen_processor(processor, model.config, name)
    return model, processor


def _load_llava(
    config: PreTrainedConfig, source: str, name: str, dtype: torch.dtype, held: int
) -> tuple[VLM, ProcessorMixin]:
    """The processor stays Llava's own: its tokenizer, template and beginning-of-sequence token are part of it."""
    from transformers import LlavaForConditionalGeneration

    from sightline.interop.llava import vlm_from_llava
    from sightline.interop.llava_processor import BoundedLlavaProcessor

    model = vlm_from_llava(_whole(LlavaForConditionalGeneration, config, source, name, dtype, held), take=True)
    processor: Any = BoundedLlavaProcessor.from_pretrained(source, backend="pil", trust_remote_code=False)
    model.config.image_processor = processor.image_processor.to_dict()
    model.config.image_special_token = processor.image_token * model.config.num_image_tokens
    return model, processor


def _whole(kind: Any, config: PreTrainedConfig, source: str, name: str, dtype: torch.dtype, held: int) -> Any:
    """The model of that class, every weight of which is in the files: transformers would make up those that are not."""
    screen_config(kind, config, held, name)
    model, report = kind.from_pretrained(source, dtype=dtype, use_safetensors=True, output_loading_info=True)
    if report["missing_keys"]:
        raise ValueError(f"{name!r} lacks the weight {min(report['missing_keys'])}")
    return model


@contextmanager
def _in_one_line(source: str, name: str | Path) -> Iterator[None]:
    """A stranger's files can make a loader raise anything: here it becomes a ValueError of one line."""
    try:
        yield
    except (FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and not Path(source).is_dir():
            raise  # the hub's
        if isinstance(error, ValueError) and "\n" not in str(error):
            raise
        raise ValueError(f"{str(name)!r} cannot be loaded: {_first_line(error)}") from error


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
        native = _multiplies_bfloat16()
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def _multiplies_bfloat16() -> bool:
    if platform.machine() in ("x86_64", "AMD64"):
        # oneDNN also says yes to AVX-512 without bfloat16 instructions, where it emulates them.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pick_device(name: str) -> torch.device:
    """The device of that name, or the best one for `auto`. Raises ValueError where there is none."""
    if name == "auto":
        return best_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(f"there is no device {name!r} here: give auto, cpu, cuda or mps") from None
    return device


def named_dtype(given: str | torch.dtype) -> torch.dtype:
    """`float32` and its like as a torch dtype. Raises ValueError for another name."""
    if isinstance(given, torch.dtype):
        return given
    if given not in DTYPES:
        quantized = "; for int8 weights quantize" if given == "int8" else ""
        raise ValueError(f"there is no dtype {given!r}: give auto, float32, bfloat16 or float16{quantized}")
    return DTYPES[given]


def located(name: str | Path) -> str:
    """Where a model lies that may be given by a shipped name or as a training run's folder; else as it was given."""
    if str(name) == DEFAULT_MODEL:
        return str(resources.files("sightline") / "assets" / DEFAULT_MODEL)
    run = Path(name) / "model"  # of a training run's folder, the model that it ended with
    if not (Path(name) / "config.json").is_file() and (run / "config.json").is_file():
        return str(run)
    return str(name)


def _check_place(source: str, name: str | Path) -> None:
    """Refuse what is no folder and cannot be a hub id, before the hub is asked."""
    looks_local = Path(source).is_absolute() or str(name).startswith((".", "~")) or str(name).count("/") != 1
    if not Path(source).is_dir() and (looks_local or Path(source).exists()):
        raise FileNotFoundError(f"there is no model {str(name)!r}: give sightline-tiny, a folder or a hub id")


def _read_config(source: str, name: str | Path) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
            raise FileNotFoundError(f"the folder {str(name)!r} holds no model: there is no config.json in it") from None
        if Path(source).is_dir():
            raise ValueError(f"the config.json of {str(name)!r} cannot be read: {_first_line(error)}") from None
        raise FileNotFoundError(f"there is no model {str(name)!r} here or on the hub: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
