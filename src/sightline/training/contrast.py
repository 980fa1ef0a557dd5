"""The contrastive tower stage: regions of pictures against their names, through transformers' `CLIPModel`.

CLIP's loss (Radford et al., 2021) over regions instead of whole pictures (Zhong et al., 2022, RegionCLIP): a
region's feature is the mean of its patches, so every patch learns to say what stands there, which is what a
language model will read. A region is told apart from the other names of its own micro-batch, so a batch that is
cut into several has fewer negatives. The text half lives for this stage only. Nothing here knows where regions come
from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from sightline.nn.vlm import VLM

__all__ = ["RegionContrast", "patch_weights", "scaled_cosines"]

Box = tuple[float, float, float, float]
MAX_SCALE = 100.0  # of the logits, as in CLIP
TEXT_LAYERS = 2
TEXT_LENGTH = 32  # tokens a name may have


class RegionContrast(nn.Module):
    """A CLIPModel whose vision half is the VLM's own tower.

    Raises:
        ValueError: the tower is not a CLIP one.
    """

    def __init__(self, model: VLM):
        super().__init__()
        vision = model.config.vision_config
        if vision.model_type != "clip_vision_model":
            raise ValueError(
                f"a contrastive stage trains CLIP towers, not {vision.model_type}: take objective: captioning"
            )
        width = vision.hidden_size
        text: dict[str, Any] = {
            "vocab_size": model.config.vocab_size,
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": TEXT_LAYERS,
            "num_attention_heads": vision.num_attention_heads,
            "max_position_embeddings": TEXT_LENGTH,
            "pad_token_id": model.config.pad_token_id,
            "bos_token_id": model.config.bos_token_id,
            "eos_token_id": model.config.eos_token_id,
        }
        config = CLIPConfig(text_config=text, vision_config=vision.to_dict(), projection_dim=width)
        self.clip = CLIPModel(config)
        self.clip.vision_model = model.vision_encoder.vision_model
        self.layer = model.config.vision_feature_layer
        self.embed = model.get_image_embeddings

    def forward(
        self,
        pixel_values: Tensor,
        region_image: Tensor,
        region_patches: Tensor,
        region_text: Tensor,
        text_ids: Tensor,
        text_length: Tensor,
    ) -> Tensor:
        """The mean of both directions' cross-entropies, over the regions and names given: a scalar in float32.

        Args:
            pixel_values: float `[images, 3, H, W]`.
            region_image: int64 `[regions]`, the image of each.
            region_patches: float `[regions, patches]`, rows that sum to 1.
            region_text: int64 `[regions]`, the row of `text_ids` that names it.
            text_ids: int64 `[texts, TEXT_LENGTH at most]`, all different, padded on the right.
            text_length: int64 `[texts]`.
        """
        patches = self.embed(pixel_values, self.clip, self.layer)
        patches = self.clip.vision_model.post_layernorm(patches)
        regions = torch.einsum("rp,rpv->rv", region_patches, patches[region_image])
        images = self.clip.visual_projection(regions)
        states = self.clip.text_model(input_ids=text_ids).last_hidden_state
        last = states[torch.arange(len(states), device=states.device), text_length - 1]
        texts = self.clip.text_projection(last)
        logits = scaled_cosines(images, texts, self.clip.logit_scale)
        # Several regions may have one name: a name's own direction spreads over them.
        positive = F.one_hot(region_text, len(text_ids)).T.float()
        named = -(logits.T.log_softmax(dim=-1) * positive).sum(-1) / positive.sum(-1)
        return (F.cross_entropy(logits, region_text) + named.mean()) / 2

    def text_half(self) -> dict[str, nn.Parameter]:
        """The parameters that are not the VLM's, by name."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("clip.vision_model.")}


def scaled_cosines(
    images: Float[Tensor, "regions width"], texts: Float[Tensor, "texts width"], log_scale: Float[Tensor, ""]
) -> Float[Tensor, "regions texts"]:
    """Cosines times exp(`log_scale`), 100 at most: in float32 under autocast too, or near names would be one."""
    with torch.autocast(images.device.type, enabled=False):
        images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
        return log_scale.float().exp().clamp(max=MAX_SCALE) * images @ texts.T


def patch_weights(boxes: Sequence[Box], side: int) -> Tensor:
    """How much of each box lies on each of `side * side` patches: `[boxes, patches]`, rows sum to 1.

    Boxes are left, top, right, bottom as fractions of the picture.

    >>> patch_weights([(0.0, 0.0, 0.5, 0.75)], 2)
    tensor([[0.6667, 0.0000, 0.3333, 0.0000]])
    """
    left, top, right, bottom = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4).T * side
    edges = torch.arange(side, dtype=torch.float32)

    def covered(start: Tensor, end: Tensor) -> Tensor:
        return (torch.minimum(end[:, None], edges + 1) - torch.maximum(start[:, None], edges)).clamp(min=0)

    area = torch.einsum("by,bx->byx", covered(top, bottom), covered(left, right)).flatten(1)
    return area / area.sum(dim=1, keepdim=True)
