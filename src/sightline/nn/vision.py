"""The vision tower: CLIP or SigLIP as transformers has them, from a PIL image to patch features.

The tower is frozen unless the config says otherwise, and knows nothing of language.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import transformers
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from sightline.images import to_rgb

# The names of a tower's model class and composite config, by the `model_type` of its vision config. They are
# looked up when needed: this module is also imported while transformers is still importing its own models.
_TOWERS = {
    "clip_vision_model": ("CLIPModel", "CLIPConfig"),
    "siglip_vision_model": ("SiglipModel", "SiglipConfig"),
}
_COMPOSITE = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}


def get_vision_model(model_path: str | Path) -> tuple[PreTrainedModel, Any]:
    """Load a tower, frozen and in eval mode, and its processor, from a folder or a hub id.

    Both whole CLIP / SigLIP checkpoints and vision-only ones load; SigLIP 2 where its pictures have one fixed
    resolution, for then it is published as `siglip`. The processor is the checkpoint's own (`CLIPProcessor`), or
    its image processor where the checkpoint has no tokenizer.

    Raises:
        ValueError: the checkpoint is neither CLIP nor SigLIP, or lacks a weight of the tower.
        OSError: there is no checkpoint at `model_path`.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model_path, trust_remote_code=False)
    if config.model_type in _COMPOSITE:
        model = _whole(_classes(_COMPOSITE[config.model_type])[0], model_path, "vision_model.")
    elif config.model_type in _TOWERS:
        model = build_tower(config)
        model.vision_model = _whole(type(model.vision_model), model_path, "")
    else:
        raise ValueError(
            f"{model_path} holds a {config.model_type!r} model, but a tower is one of "
            f"{', '.join([*_COMPOSITE, *_TOWERS])}: pictures of one fixed resolution"
        )
    return freeze(model), _tower_processor(model_path)


def _whole(kind: Any, model_path: str | Path, part: str) -> Any:
    """The model of that class; transformers would make up weights that the checkpoint lacks, but not in `part`."""
    model, report = kind.from_pretrained(model_path, dtype=torch.get_default_dtype(), output_loading_info=True)
    if missing := [name for name in report["missing_keys"] if name.startswith(part)]:
        raise ValueError(f"the vision tower {str(model_path)!r} lacks the weight {min(missing)}")
    return model


def _classes(vision_type: str) -> tuple[Any, Any]:
    model, config = _TOWERS[vision_type]
    return getattr(transformers, model), getattr(transformers, config)


def _tower_processor(model_path: str | Path) -> Any:
    from transformers import AutoImageProcessor, AutoProcessor

    try:
        return AutoProcessor.from_pretrained(model_path, backend="pil", trust_remote_code=False)
    except (OSError, ValueError, ImportError):  # a tokenizer, which is not needed here, may lack its package
        return AutoImageProcessor.from_pretrained(model_path, backend="pil", trust_remote_code=False)


def build_tower(vision_config: PreTrainedConfig, text_config: PreTrainedConfig | None = None) -> Any:
    """A tower with fresh weights; without `text_config`, only its vision half.

    Raises:
        ValueError: the vision config is neither CLIP's nor SigLIP's.
    """
    if vision_config.model_type not in _TOWERS:
        raise ValueError(f"vision_config is a {vision_config.model_type!r}; a tower is one of {sorted(_TOWERS)}")
    model_class, config_class = _classes(vision_config.model_type)
    spare = {"num_hidden_layers": 1, "vocab_size": 2, "hidden_size": 4, "num_attention_heads": 1}
    spare |= {"intermediate_size": 4, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1}
    halves = {"vision_config": vision_config.to_dict(), "text_config": text_config.to_dict() if text_config else spare}
    joint = {"projection_dim": vision_config.projection_dim} if hasattr(vision_config, "projection_dim") else {}
    config: Any = config_class(**halves, **joint)
    config._attn_implementation = vision_config._attn_implementation
    model = model_class(config)
    return model if text_config else drop_text_half(model)


def drop_text_half(tower: PreTrainedModel) -> PreTrainedModel:
    """Remove what only contrastive training needs, in place: everything but `vision_model`."""
    for name in [name for name, _ in tower.named_children() if name != "vision_model"]:
        delattr(tower, name)
    for name in [name for name, _ in tower.named_parameters(recurse=False)]:
        delattr(tower, name)
    return tower


def freeze(tower: nn.Module) -> Any:
    """Eval mode, and no gradients."""
    return tower.requires_grad_(False).eval()


def image2tensor(image: Image.Image, processor: Any) -> Float[Tensor, "1 3 height width"]:
    """A PIL image of any size and mode as the tower takes it, float32.

    Transparency is laid on white, EXIF rotation applied, then the processor resizes and normalises.

    Raises:
        ValueError: the mode has no meaning as a colour picture, or there are no pixels.
    """
    return processor(images=to_rgb(image), return_tensors="pt")["pixel_values"]


def get_image_embeddings(
    image_tensors: Float[Tensor, "*images 3 height width"], vision_model: PreTrainedModel, layer: int = -1
) -> Float[Tensor, "*images patches vision"]:
    """Patch features after the tower's block `layer` (-1: the last, -2: one before, as LLaVA), without [CLS].

    They are transformers' `hidden_states[layer]`: before the tower's last norm. Leading dimensions are kept:
    `[B, N, 3, 224, 224]` becomes `[B, N, 196, C]`, in the tower's dtype. Blocks behind `layer` do not run.

    Raises:
        ValueError: the pictures have another size than the tower's, or it has no such block.
    """
    tower: Any = vision_model.vision_model
    blocks = blocks_up_to(tower, layer)
    *images, channels, height, width = image_tensors.shape
    side = tower.config.image_size
    if (height, width) != (side, side):
        raise ValueError(f"the pictures are {height} x {width} pixels, but the tower takes {side} x {side}")
    pixels = image_tensors.reshape(math.prod(images), channels, height, width)
    hidden_states = tower.embeddings(pixels.to(tower.embeddings.patch_embedding.weight.dtype))
    if hasattr(tower, "pre_layrnorm"):
        hidden_states = tower.pre_layrnorm(hidden_states)
    for block in blocks:
        hidden_states = block(hidden_states, None)
    if hasattr(tower.embeddings, "class_embedding"):
        hidden_states = hidden_states[:, 1:]
    return hidden_states.reshape(*images, *hidden_states.shape[1:])


def blocks_up_to(tower: Any, layer: int) -> Any:
    """The tower's blocks that `hidden_states[layer]` has gone through: -1 means all, -2 all but one.

    Raises:
        ValueError: it has no such block.
    """
    blocks = tower.encoder.layers
    count = layer if layer >= 0 else len(blocks) + 1 + layer
    if not 0 <= count <= len(blocks):
        raise ValueError(f"there is no layer {layer}: the tower has {len(blocks)} blocks")
    return blocks[:count]
