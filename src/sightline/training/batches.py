"""Batches for training: pictures of the built-in world with their conversations, as tensors.

A batch is a pure function of the recipe and its step, so a resumed run sees what it would have seen. This
file knows the world and the processor; it does not know the model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sightline.data.scenes.world import World
from sightline.processor import VLMProcessor
from sightline.training.recipe import Recipe


def world_of(recipe: Recipe, image_size: int, grid_share: float = 0.0) -> World:
    """The training side of the world, as the recipe asks for it."""
    return World(
        grid_share=grid_share,
        seed=recipe.train.seed,
        split="train",
        things=recipe.data.things,
        languages=recipe.data.languages,
        image_size=image_size,
    )


class SceneBatches(Dataset[dict[str, Tensor]]):
    """Item `step` is the batch of that step: input_ids, attention_mask, labels, pixel_values."""

    def __init__(self, recipe: Recipe, processor: VLMProcessor, image_size: int):
        self.recipe = recipe
        self.processor = processor
        self.phases = [(phase, world_of(recipe, image_size, phase.grid_share)) for phase in recipe.train.curriculum]

    def __len__(self) -> int:
        return self.recipe.train.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        settings = self.recipe.train
        phase, world = next(pair for pair in self.phases if step / len(self) < pair[0].until)
        indices = range(step * settings.batch_size, (step + 1) * settings.batch_size)
        samples = [world.sample(index, questions=phase.questions) for index in indices]
        return dict(self.processor.encode_for_training([(s["messages"], s["images"]) for s in samples]))


def batches_from(dataset: SceneBatches, step: int) -> DataLoader[Any]:
    """The batches of `step` and after, in order, made beside the training where the recipe has workers."""
    workers = dataset.recipe.train.workers
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=range(step, len(dataset)),
        num_workers=workers,
        generator=torch.Generator(),  # or each start would draw from the model's random numbers
        prefetch_factor=4 if workers else None,
    )
