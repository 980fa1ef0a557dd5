"""Weights of an earlier checkpoint put into the model of a run: `put_back`. Which checkpoint is the loop's choice."""

from __future__ import annotations

from pathlib import Path

import torch

from sightline.nn.vlm import VLM
from sightline.training.checkpoint import load_state, verify
from sightline.training.lora import load_adapter_state

__all__ = ["put_back"]


def put_back(model: VLM, checkpoint: Path, adapters: bool) -> None:
    """Give `model` the weights that it had when `checkpoint` was saved; with `adapters`, theirs and the projector's.

    Raises:
        ValueError: the checkpoint is not there, or is damaged.
    """
    verify(checkpoint)
    if adapters:
        load_adapter_state(model, load_state(checkpoint)["adapters"])
        return
    saved = VLM.from_pretrained(checkpoint, dtype=torch.float32)
    model.load_state_dict(saved.state_dict())
