"""Checkpoints: a folder that `sightline ask` takes as it is, plus what the trainer needs to go on.

A checkpoint is written beside its place and renamed into it, so it is whole or absent. Which step is worth
keeping is the loop's decision.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor

_STATE = "trainer.pt"


def save_checkpoint(
    folder: Path, step: int, model: VLM, processor: VLMProcessor, state: dict[str, Any], keep: int
) -> Path:
    """Write `folder/step-NNNNNN` and drop all but the newest `keep` checkpoints."""
    path = folder / f"step-{step:06d}"
    beside = folder / f".writing-{path.name}"
    shutil.rmtree(beside, ignore_errors=True)
    save_model(beside, model, processor)
    torch.save({"step": step, **state}, beside / _STATE)
    shutil.rmtree(path, ignore_errors=True)
    beside.rename(path)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def save_model(folder: Path, model: VLM, processor: VLMProcessor) -> None:
    """The model and its processor, as `sightline.load` and transformers read them."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size="15MB")
    processor.save_pretrained(folder)


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    whole = [path for path in folder.glob("step-*") if (path / _STATE).is_file()]
    return sorted(whole, key=lambda path: int(path.name.removeprefix("step-")))


def load_state(checkpoint: Path) -> dict[str, Any]:
    """The trainer's state: step, optimisers, schedules, random generator."""
    return torch.load(checkpoint / _STATE, weights_only=True)
