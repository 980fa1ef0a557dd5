"""What a tower that is not trained sees in pictures: computed once for each picture, and then read from the disk.

On a processor each picture goes through the tower by itself, whether it is kept or not: how many others stand beside it
in a matrix product would otherwise change the last bits of its features, and with them the run.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sightline.data.cache import cache_folder
from sightline.nn.vlm import VLM
from sightline.training.feature_cache import FeatureCache

__all__ = ["KEY_BYTES", "FrozenFeatures", "tower_digest"]

KEY_BYTES = 32  # of a picture's key; all zero: it is not kept


class FrozenFeatures:
    """The features of pictures by the frozen tower of `model`, of which the disk keeps at most `limit` bytes.

    `image_processor` is what prepares the pictures; whether the tower's blocks are compiled, `is_compiled`, is known
    because that rounds in its own way. Nothing is read or kept before `begin`.
    """

    def __init__(self, model: VLM, image_processor: Any, limit: int, dtype: torch.dtype, is_compiled: bool = False):
        self.model, self.image_processor, self.limit, self.dtype = model, image_processor, limit, dtype
        self.is_compiled = is_compiled
        self.cache: FeatureCache | None = None

    def begin(self) -> None:
        """Use the cache from now on, if there may be one. The tower must stay as it is."""
        if not self.limit:
            return
        vision = self.model.config.vision_config
        shape = ((vision.image_size // vision.patch_size) ** 2, vision.hidden_size)
        digest = tower_digest(self.model, self.image_processor, self.dtype, self.is_compiled)
        self.cache = FeatureCache(cache_folder("features"), digest, shape, self.limit)

    @torch.no_grad()
    def __call__(
        self, pixel_values: Float[Tensor, "images 3 height width"], keys: UInt8[Tensor, "images bytes"] | None = None
    ) -> Float[Tensor, "images patches vision"]:
        """The features of pictures, by their keys where these are not zero."""
        names = [b""] * len(pixel_values) if keys is None or self.cache is None else _names(keys)
        known = [self.cache.get(name) if self.cache and name else None for name in names]
        missing = [number for number, one in enumerate(known) if one is None]
        fresh = self._encoded(pixel_values[missing]) if missing else ()
        for number, features in zip(missing, fresh, strict=True):
            known[number] = features
            if self.cache and names[number]:
                self.cache.put(names[number], features)
        return torch.stack([one.to(pixel_values.device) for one in known if one is not None])

    def _encoded(self, pixel_values: Tensor) -> Tensor:
        if pixel_values.device.type != "cpu":
            return self.model.encode_images(pixel_values)
        return torch.cat([self.model.encode_images(one[None]) for one in pixel_values])


def _names(keys: Tensor) -> list[bytes]:
    return [name if any(name) else b"" for name in (bytes(row.tolist()) for row in keys.cpu())]


def tower_digest(model: VLM, image_processor: Any, dtype: torch.dtype, is_compiled: bool = False) -> str:
    """SHA-256 of all that decides features: the tower's weights, shape and layer, preparation and arithmetic."""
    tower = model.vision_encoder
    vision_model: Any = tower.vision_model
    said = {
        "tower": model.config.vision_config.to_dict(),
        "layer": model.config.vision_feature_layer,
        "attention": vision_model.config._attn_implementation,
        "pictures": image_processor.to_dict(),
        "arithmetic": [torch.__version__, str(dtype), next(tower.parameters()).device.type, is_compiled],
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for name, weight in sorted(tower.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
