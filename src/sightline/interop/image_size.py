"""A model for pictures of another size: the tower's position embeddings are interpolated, and all that follows from
the number of patches is counted anew. Nothing is trained here, and no other weight changes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sightline.config import VLMConfig
from sightline.image_processing import default_image_processor
from sightline.interop.language import rebuilt
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor

__all__ = ["interpolated", "resized"]

_POSITIONS = "vision_encoder.vision_model.embeddings.position_embedding.weight"


def resized(model: VLM, processor: VLMProcessor, image_size: int) -> tuple[VLM, VLMProcessor]:
    """A copy of `model` for pictures of `image_size` pixels a side, and its processor; as they are where it is theirs.

    Raises:
        ValueError: the size is no multiple of the tower's patches, or of those that become one token; or a picture has
            more tokens than the model reads.
    """
    tower = model.config.vision_config
    if image_size == tower.image_size:
        return model, processor
    if image_size % tower.patch_size:
        raise ValueError(f"image_size={image_size} is no multiple of patch_size={tower.patch_size}")
    config = _config(model.config, processor, image_size)
    weights = dict(model.state_dict())
    old, new = (tower.vision_config.image_size // tower.vision_config.patch_size for tower in (model.config, config))
    weights[_POSITIONS] = interpolated(weights[_POSITIONS], old, new)
    fitted = VLMProcessor(
        default_image_processor(config),
        processor.tokenizer,
        chat_template=str(processor.chat_template),
        image_token=processor.image_token,
        num_image_tokens=config.num_image_tokens,
    )
    return rebuilt(model, config, weights), fitted


def interpolated(
    positions: Float[Tensor, "positions vision"], old: int, new: int
) -> Float[Tensor, "new_positions vision"]:
    """Embeddings of `old` x `old` patches as those of `new` x `new`, by bicubic interpolation (ViT, section 3.2).

    What stands before them, CLIP's [CLS], stays as it is.
    """
    before = len(positions) - old * old
    grid = positions[before:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    finer = torch.nn.functional.interpolate(grid, (new, new), mode="bicubic", align_corners=False, antialias=new < old)
    patches = finer.permute(0, 2, 3, 1).flatten(0, 2).to(positions.dtype)
    return torch.cat([positions[:before], patches])


def _config(smaller: VLMConfig, processor: VLMProcessor, image_size: int) -> VLMConfig:
    config = deepcopy(smaller)
    config.vision_config.image_size = image_size
    tokens = config.num_image_tokens
    config.image_ids = [smaller.image_token_id] * tokens
    config.image_special_token = smaller.image_token * tokens
    config.image_processor = _preparation(smaller, processor, image_size)
    config.check()
    if tokens >= config.max_position_embeddings:
        raise ValueError(
            f"a picture of {image_size} pixels has {tokens} tokens, and the model reads "
            f"{config.max_position_embeddings} in all: take a smaller one"
        )
    return config


def _preparation(smaller: VLMConfig, processor: VLMProcessor, image_size: int) -> dict[str, Any]:
    """The image processor's settings, its sizes as much larger as the tower's side: a crop keeps its share."""
    times = image_size / smaller.vision_config.image_size
    settings = processor.image_processor.to_dict()
    for name in ("size", "crop_size"):
        given = settings.get(name)
        if isinstance(given, dict):
            settings[name] = {key: value and round(value * times) for key, value in given.items()}
        elif given:
            settings[name] = round(given * times)
    return settings
