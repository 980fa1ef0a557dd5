"""The image processor that a config describes: sizes, crops and normalisation. It opens no file."""

from __future__ import annotations

import transformers
from transformers.image_processing_utils import BaseImageProcessor

from sightline.config import VLMConfig

__all__ = ["default_image_processor"]


def default_image_processor(config: VLMConfig) -> BaseImageProcessor:
    """How a model's pictures are prepared: as `config.image_processor` says, else whole pictures squeezed to the
    tower's square, so that what stands at the edge of a picture is never cropped away.

    Raises:
        ValueError: `config.image_processor` names a class that transformers does not have.
    """
    settings = dict(config.image_processor or {})
    if not settings:
        side = config.vision_config.image_size
        square = {"height": side, "width": side}
        settings = {"size": square, "crop_size": square, "do_center_crop": False}
        if config.vision_config.model_type.startswith("siglip"):
            settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    kind = settings.pop("image_processor_type", "CLIPImageProcessorPil")
    # Of the backends only Pillow's is sure to be installed.
    name = kind.removesuffix("Fast").removesuffix("Pil") + "Pil"
    if not hasattr(transformers, name):
        raise ValueError(f"image_processor_type={kind!r} is no image processor of transformers")
    return getattr(transformers, name)(**settings)
