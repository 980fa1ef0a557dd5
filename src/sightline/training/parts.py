"""The three parts of a model, by the names of its parameters: what a stage trains, and what it leaves alone.

It switches gradients and counts. Which parts a stage trains is the recipe's, how fast they
move the optimiser's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from sightline.nn.vlm import VLM
from sightline.training.recipe import PARTS, Part

__all__ = ["count_parameters", "is_adapter", "part_of", "set_trainable"]

# `clip.` is what a contrastive stage trains: the tower, and a text half that is there for the tower alone.
_PREFIXES: dict[str, Part] = {"vision_encoder.": "vision", "clip.": "vision", "vision_proj.": "projector"}


def part_of(name: str) -> Part:
    """The part that the parameter of this name belongs to, as `VLM` or `RegionContrast` names it."""
    return next((part for prefix, part in _PREFIXES.items() if name.startswith(prefix)), "language")


def is_adapter(name: str) -> bool:
    """Whether the parameter of this name is one that LoRA added."""
    return ".lora_" in name


def set_trainable(model: VLM, trains: Sequence[str], lora: bool = False, blocks: bool = True) -> None:
    """Give gradients to the parts in `trains` and to nothing else; with `lora`, of the language its adapters alone.

    Without `blocks`, of the language its embeddings, last norm and head alone.

    A tower that is trained is no longer a frozen one: `config.freeze_vision` becomes False, or `VLM.train` would
    freeze it again. One that is not trained is left in eval mode; call this after `model.train()`.

    Raises:
        ValueError: a part that does not exist, or `lora` for a model without adapters.
    """
    unknown = [part for part in trains if part not in PARTS]
    if unknown:
        raise ValueError(f"there is no part {unknown[0]!r}; there is {', '.join(PARTS)}")
    if lora and not any(is_adapter(name) for name, _ in model.named_parameters()):
        raise ValueError("lora trains adapters, but the model has none: attach them first")
    for name, parameter in model.named_parameters():
        part = part_of(name)
        moves = part != "language" or ((is_adapter(name) or not lora) and (blocks or ".layers." not in name))
        parameter.requires_grad_(part in trains and moves)
    if "vision" in trains:
        model.config.freeze_vision = False
        model.vision_encoder.train(model.training)  # in which mode activations are checkpointed
    else:
        model.vision_encoder.eval()


def count_parameters(model: VLM) -> dict[Part, tuple[int, int]]:
    """All and the trainable parameters of each part; a tied weight counts once."""
    counts: dict[Part, tuple[int, int]] = dict.fromkeys(get_args(Part), (0, 0))
    for name, parameter in model.named_parameters():
        total, trainable = counts[part_of(name)]
        size = parameter.numel()
        counts[part_of(name)] = total + size, trainable + size * parameter.requires_grad
    return counts
