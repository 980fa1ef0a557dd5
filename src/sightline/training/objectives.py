"""What a stage minimises: the conversations' cross-entropy, or what regions have to do with their names.

Both say how much a micro-batch weighs, and give its share of the step's loss: accumulated micro-batches of
conversations add up to the one batch that they were cut from. Regions are told apart within a micro-batch alone.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sightline.nn.moe import Routing
from sightline.nn.vlm import VLM
from sightline.training.batches import MicroBatch
from sightline.training.contrast import RegionContrast
from sightline.training.frozen_features import FrozenFeatures
from sightline.training.words import RegionWords

__all__ = ["Contrast", "Conversations", "Loss", "Objective", "Words"]


class Loss(NamedTuple):
    """A micro-batch's share of the step's loss, and each sparse layer's routing."""

    value: Tensor
    router: tuple[Routing, ...] | None = None


class Objective(Protocol):
    """What a stage minimises."""

    @property
    def module(self) -> nn.Module:
        """What is put into training mode and optimised; the model is a part of it or all of it."""
        ...

    def begin(self) -> None:
        """Called before the first step, and by no rehearsal."""
        ...

    def weight(self, batch: MicroBatch) -> int:
        """What the loss is the mean over: supervised tokens, or regions."""
        ...

    def positions(self, batch: MicroBatch) -> int:
        """How much the model reads: tokens, those of pictures too but no padding, or the patches of the pictures."""
        ...

    def loss(self, batch: MicroBatch, total: int) -> Loss:
        """The batch's part of the mean over `total`."""
        ...

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """What is trained besides the model, by name."""
        ...


class Conversations:
    """The mean cross-entropy over what the assistant writes; a mixture of experts adds its balance losses.

    `features`, where the tower is frozen, gives what it sees.
    """

    def __init__(self, model: VLM, features: FrozenFeatures | None = None):
        self.module: nn.Module = model
        self._features = features

    def begin(self) -> None:
        if self._features is not None:
            self._features.begin()

    def weight(self, batch: MicroBatch) -> int:
        return int((batch["labels"][:, 1:] != -100).sum())

    def positions(self, batch: MicroBatch) -> int:
        return int(batch["attention_mask"].sum())

    def loss(self, batch: MicroBatch, total: int) -> Loss:
        inputs, keys = dict(batch), batch.get("picture_keys")
        inputs.pop("picture_keys", None)
        if self._features is not None and "pixel_values" in inputs:
            inputs["image_features"] = self._features(inputs.pop("pixel_values"), keys)
        outputs = self.module(**inputs, num_items_in_batch=total, skip_logits=True, check_images=False, use_cache=False)
        return Loss(outputs.loss, outputs.router)

    def own_parameters(self) -> dict[str, nn.Parameter]:
        return {}


class Contrast:
    """`RegionContrast`, weighted by regions."""

    def __init__(self, model: VLM, device: torch.device):
        self.contrast = RegionContrast(model).to(device)
        self.module: nn.Module = self.contrast

    def begin(self) -> None:
        pass

    def weight(self, batch: MicroBatch) -> int:
        return len(batch["region_text"])

    def positions(self, batch: MicroBatch) -> int:
        return len(batch["pixel_values"]) * batch["region_patches"].shape[1]

    def loss(self, batch: MicroBatch, total: int) -> Loss:
        return Loss(self.contrast(**batch) * (self.weight(batch) / total))

    def own_parameters(self) -> dict[str, nn.Parameter]:
        return self.contrast.text_half()


class Words:
    """`RegionWords`, weighted by regions."""

    def __init__(self, model: VLM):
        self.module: nn.Module = model
        self.words = RegionWords(model)

    def begin(self) -> None:
        pass

    def weight(self, batch: MicroBatch) -> int:
        return len(batch["region_words"])

    def positions(self, batch: MicroBatch) -> int:
        return len(batch["pixel_values"]) * batch["region_patches"].shape[1]

    def loss(self, batch: MicroBatch, total: int) -> Loss:
        return Loss(self.words(**batch) * (self.weight(batch) / total))

    def own_parameters(self) -> dict[str, nn.Parameter]:
        return {}
