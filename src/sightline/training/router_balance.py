"""A step's routing over all of its micro-batches: the experts' balance by modality, and the biases that keep it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sightline.nn.balance import update_router_biases
from sightline.nn.moe import Routing
from sightline.nn.router_statistics import router_statistics
from sightline.nn.vlm import VLM

__all__ = ["StepRouting"]


class StepRouting:
    """The routings of a step, joined: what balances experts is the step, however it was cut.

    Args:
        routers: of each micro-batch, each sparse layer's routing.
        batches: the micro-batches, with `input_ids` and `attention_mask` int64 `[batch, seq]`.
    """

    def __init__(self, routers: Sequence[tuple[Routing, ...]], batches: Sequence[dict[str, Tensor]], image_id: int):
        layers = zip(*routers, strict=True)
        self.routing = [Routing(*(torch.cat(parts) for parts in zip(*layer, strict=True))) for layer in layers]
        self.real = torch.cat([batch["attention_mask"].flatten() for batch in batches]).unsqueeze(0)
        self.image = torch.cat([batch["input_ids"].flatten() == image_id for batch in batches]).unsqueeze(0)

    def move_biases(self, model: VLM) -> None:
        """One update of the selection biases, where the model has them (Wang et al., 2024)."""
        if model.config.use_router_bias:
            update_router_biases(model, self.routing, self.real, model.config.router_bias_update_rate)

    def record(self, scoring_func: str) -> dict[str, Any]:
        """`text_dead_experts`, `text_entropy` and the same of image tokens: one number a sparse layer."""
        layers = router_statistics(self.routing, self.real, self.image, scoring_func)
        return {
            f"{modality}_{name}": [round(float(layer[modality][name]), 3) for layer in layers]
            for modality in ("text", "image")
            for name in ("dead_experts", "entropy")
        }
