"""Where a run's model comes from: fresh from a preset, a checkpoint, or a pretrained tower and language model.

It gives the model as training starts from it, in float32 on the CPU, experts and adapters included. Which parts
have gradients is each stage's to say.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from sightline.config import VLMConfig
from sightline.data.scenes.world import World
from sightline.engine.quantize import is_quantized
from sightline.interop.compose import compose
from sightline.interop.image_size import resized
from sightline.interop.load import load
from sightline.interop.upcycle import upcycle
from sightline.interop.vocabulary import grown
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.tokenizer import train_tokenizer
from sightline.training.language import new_words
from sightline.training.lora import attach
from sightline.training.model_section import TokenizerSection
from sightline.training.recipe import ModelSection, Recipe
from sightline.training.sources import world_of

__all__ = ["build", "reload"]


def build(recipe: Recipe) -> tuple[VLM, VLMProcessor]:
    """The model that `recipe.model` describes, and its processor: the same for the same recipe.

    Raises:
        FileNotFoundError: there is no such checkpoint, or a part of it is missing.
        ImportError: the recipe asks for LoRA, and PEFT is not installed.
        ValueError: the checkpoint is of a kind that cannot be trained here, or the recipe lacks or contradicts
            something that the model needs.
    """
    torch.manual_seed(recipe.train.seed)
    section = recipe.model
    if section.preset is not None:
        model, processor = _fresh(recipe)
    elif section.checkpoint is not None:
        model, processor = _from_checkpoint(section.checkpoint)
    else:
        assert section.vision is not None
        assert section.language is not None
        model, processor = compose(
            section.vision,
            section.language,
            overrides=section.overrides,
            trains_embeddings=section.lora is None,
        )
    if section.image_size is not None:
        model, processor = resized(model, processor, section.image_size)
    if section.new_words:
        model, processor = grown(model, processor, new_words(recipe, processor.tokenizer))
    if section.upcycle is not None:
        model = upcycle(model, **section.upcycle.model_dump(), seed=recipe.train.seed)
    return _with_adapters(model, section), processor


def reload(recipe: Recipe, folder: Path) -> tuple[VLM, VLMProcessor]:
    """As `build`, with the weights of `folder`: a checkpoint of the run or, with LoRA, the base model it started from.

    Raises:
        OSError: there is no model in `folder`.
    """
    model = VLM.from_pretrained(folder, dtype=torch.float32)
    return _with_adapters(model, recipe.model), VLMProcessor.from_pretrained(folder, backend="pil")


def _with_adapters(model: VLM, section: ModelSection) -> VLM:
    return model if section.lora is None else attach(model, section.lora)


def _fresh(recipe: Recipe) -> tuple[VLM, VLMProcessor]:
    """A fresh model, and a tokenizer trained on the world's texts."""
    source, seed = recipe.data.world, recipe.train.seed
    if source is None:
        raise ValueError("model.preset learns its tokenizer from the built-in world: give data.world, or a checkpoint")
    fields = recipe.model.fresh_fields()
    tokenizer = _learned(world_of(source, seed, VLMConfig(**fields).vision_config.image_size), recipe.tokenizer)
    config = VLMConfig(
        **fields,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return VLM(config), VLMProcessor.from_config(config, tokenizer)


def _learned(world: World, section: TokenizerSection) -> PreTrainedTokenizerFast:
    return train_tokenizer(world.texts(section.texts), section.vocab_size, spell=section.spell)


def _from_checkpoint(name: str) -> tuple[VLM, VLMProcessor]:
    model, processor = load(name, device="cpu", dtype=torch.float32)
    if is_quantized(model):
        raise ValueError(f"{name} is int8, which does not train: give the checkpoint it was quantised from")
    if not isinstance(processor, VLMProcessor):
        raise ValueError(
            f"{name} is a {type(processor).__name__} checkpoint, whose labels cannot be told: "
            "give its tower and language model as model.vision and model.language"
        )
    return model, processor
