"""A checkpoint looked through before anything of it is believed.

A checkpoint is a stranger's. What it could do is run code, as a pickle or as Python files that its `auto_map` names;
have other files read; and claim sizes that fill the memory. Each is refused in one line, and what is refused has not
been run, opened or allocated. Whether it is a good model is not asked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig
from transformers.utils import cached_file

__all__ = ["screen_config", "screen_descriptions", "screen_processor", "screen_weights"]

QUANTIZED = "sightline_int8"
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"
_DESCRIPTIONS = (
    "config.json",
    "generation_config.json",
    "image_processor_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
)
_PICKLED = re.compile(r".*\.(bin|pt|pth|ckpt|pkl|pickle|h5|msgpack)")
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors")
_JSON_BYTES, _HEADER_BYTES = 2**24, 2**25
_LARGEST = 2**31  # of any whole number in a config
_SIDE, _PIXELS = 1024, 4096  # patches and pixels along a picture's side
# Numbers that transformers makes lists or dicts of while it reads a config.
_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
_COUNTS = dict.fromkeys((*_LAYERS, "num_experts", "num_local_experts", "n_routed_experts", "num_labels"), 10_000)


def screen_descriptions(source: str, name: str) -> dict[str, Any] | None:
    """Look through what stands beside the weights; the config as it is written, or None where there is none.

    Raises:
        ValueError: it brings code, or numbers that are no sizes.
    """
    config = _read_json(source, "config.json", name)
    if config is not None:
        for file in _DESCRIPTIONS:
            _refuse_code(_read_json(source, file, name), f"the {file} of {name!r}")
        _check_numbers(config, f"the config.json of {name!r}")
    return config


def screen_weights(source: str, config: dict[str, Any], name: str) -> int:
    """How many numbers the weights of a folder or hub id are; only their headers are read.

    Args:
        config: as `screen_descriptions` gives it.
        name: what to call it in errors.

    Raises:
        ValueError: they are in pickles or elsewhere, contradict their headers, or are too few for the layers.
    """
    if _find(source, "adapter_config.json"):
        raise ValueError(f"{name!r} holds an adapter beside its weights (adapter_config.json): merge it first")
    shapes = _shapes(source, name)
    for field, number in _numbers(config):
        if field in _LAYERS and number > len(shapes):
            raise ValueError(
                f"the config.json of {name!r} has {field}={number}, but its files hold {len(shapes)} tensors"
            )
    return sum(torch.Size(shape).numel() for shape in shapes.values())


def screen_config(model_class: type[Any], config: PreTrainedConfig, held: int, name: str) -> None:
    """Compare a model as its config describes it, built without memory, with the numbers that the files hold.

    Raises:
        ValueError: it has more.
    """
    with torch.device("meta"):
        model = model_class(config)
    # A head that the files may leave out, as the embeddings again, counts only as these.
    head, embeddings = model.lm_head.weight, model.get_input_embeddings().weight
    described = sum(weight.numel() for weight in model.parameters() if weight is not head or weight is embeddings)
    if described > held:
        raise ValueError(
            f"the config.json of {name!r} describes a model of {described} weights, but its files hold {held}"
        )


def screen_processor(processor: Any, config: Any, name: str) -> None:
    """Try the processor on a picture of a few pixels: what it gives must be what the model takes.

    Raises:
        ValueError: its ids or pixels do not fit the model.
    """
    largest = max(processor.tokenizer.get_vocab().values(), default=0)
    if largest >= config.vocab_size:
        raise ValueError(f"the tokenizer of {name!r} has the id {largest}, but vocab_size is {config.vocab_size}")
    if processor.image_token_id != config.image_token_id:
        raise ValueError(
            f"the processor of {name!r} stands the id {processor.image_token_id} for an image, but its config.json "
            f"{config.image_token_id}"
        )
    for _, number in _numbers(processor.image_processor.to_dict()):
        if number > _PIXELS:
            raise ValueError(f"the image processor of {name!r} has a size of {number}, above {_PIXELS}")
    picture = Image.new("RGB", (48, 32), "gray")  # what is not cropped shows in one that is not square
    found = processor(images=[picture], text=[processor.image_token], return_tensors="pt")
    tokens = int((found["input_ids"] == config.image_token_id).sum())
    side = config.vision_config.image_size
    if tokens != config.num_image_tokens or found["pixel_values"].shape[-3:] != (3, side, side):
        raise ValueError(
            f"the processor of {name!r} makes {tokens} tokens and {tuple(found['pixel_values'].shape[-3:])} pixels of "
            f"a picture, but its model takes {config.num_image_tokens} and {(3, side, side)}"
        )


def _find(source: str, file: str) -> Path | None:
    if Path(source).is_dir():
        path = Path(source) / file
        return path if path.is_file() else None
    try:
        found = cached_file(source, file, _raise_exceptions_for_missing_entries=False)
    except OSError:  # no such model, or nobody to ask: reading the config says so
        return None
    return Path(found) if found else None


def _read_json(source: str, file: str, name: str) -> dict[str, Any] | None:
    path = _find(source, file)
    if path is None:
        return None
    if path.stat().st_size > _JSON_BYTES:
        raise ValueError(f"the {file} of {name!r} has more than {_JSON_BYTES} bytes")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"the {file} of {name!r} is no JSON object")
    return found


def _fields(value: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Each field of an object and of those inside it: its name, its value, and the object."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            yield from ((key, item, one) for key, item in one.items())
            todo += one.values()
        elif isinstance(one, list):
            todo += one


def _numbers(value: Any) -> Iterator[tuple[str, int]]:
    for field, item, _ in _fields(value):
        for number in item if isinstance(item, list) else [item]:
            if isinstance(number, int) and not isinstance(number, bool):
                yield field, number


def _method(quantization: Any) -> Any:
    return quantization.get("quant_method") if isinstance(quantization, dict) else quantization


def _refuse_code(described: dict[str, Any] | None, where: str) -> None:
    for field, value, _ in _fields(described):
        if field in ("auto_map", "custom_pipelines") and value:
            raise ValueError(f"{where} names code of its own ({field}), which is never run: remove it to do without")
        if field == "quantization_config" and value and _method(value) != QUANTIZED:
            raise ValueError(
                f"{where} says that its weights are quantised in a way that this package does not read: load the "
                "unquantised checkpoint, and quantise it with quantize='int8' (on a GPU, or 'torchao')"
            )
        if field == "transformers_weights":
            raise ValueError(f"{where} names a file of weights (transformers_weights): call it {_WHOLE}")
        # A name with a slash is a hub's repository of compiled code.
        if "implementation" in field and "/" in json.dumps(value):
            raise ValueError(f"{where} asks for code from elsewhere ({field}), which is never run: remove it")


def _check_numbers(config: dict[str, Any], where: str) -> None:
    for field, number in _numbers(config):
        if abs(number) >= _COUNTS.get(field, _LARGEST) or (field in _LAYERS and number < 1):
            raise ValueError(f"{where} has {field}={number}, which is no size of a model")
    for field, size, inside in _fields(config):
        patch = inside.get("patch_size", 1)
        sizes = field == "image_size" and isinstance(size, int) and isinstance(patch, int)
        if sizes and (not 0 < patch <= size or size // patch > _SIDE):
            raise ValueError(f"{where} has image_size={size} and patch_size={patch}, which is no size of a picture")


def _shapes(source: str, name: str) -> dict[str, list[int]]:
    """Every tensor's shape, of files that keep what their headers say."""
    shapes: dict[str, list[int]] = {}
    for file in _weight_files(source, name):
        path = _find(source, file)
        if path is None:
            raise ValueError(f"{name!r} names the file {file} of weights, but there is none")
        with path.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
        if header > _HEADER_BYTES:
            raise ValueError(f"{file} of {name!r} has a header of {header} bytes, above {_HEADER_BYTES}: it is damaged")
        try:
            with safe_open(path, "pt") as tensors:
                shapes |= {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            what = str(error).partition("\n")[0]
            raise ValueError(f"{file} of {name!r} is damaged: {what}") from None
    return shapes


def _weight_files(source: str, name: str) -> list[str]:
    if _find(source, _WHOLE):
        return [_WHOLE]
    index = _read_json(source, _INDEX, name)
    if index is None:
        raise ValueError(f"{name!r} {_what_there_is(source)}: what loads is {_WHOLE}")
    files = index.get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"the {_INDEX} of {name!r} has no weight_map")
    for file in files.values():
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            raise ValueError(f"the {_INDEX} of {name!r} names the file {file!r}, which is none beside it")
    return sorted(set(files.values()))


def _what_there_is(source: str) -> str:
    local = Path(source).is_dir()
    there = sorted(path.name for path in Path(source).iterdir()) if local else ["pytorch_model.bin"]
    pickled = next((file for file in there if _PICKLED.fullmatch(file)), None)
    if pickled is None or not (local or _find(source, pickled)):
        return "holds no weights"
    return f"holds its weights in a format that can run code ({pickled})"
