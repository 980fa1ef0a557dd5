"""A pretrained tower and a pretrained language model as one `VLM`: both as they were, and a fresh projector between.

The vocabulary grows by what the tokenizer lacks: an image placeholder, a padding token, and, where it has no chat
template, the control tokens of ours. How a template learns to show images is `templates.py`'s; nothing is trained
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.generation import GenerationConfig

from sightline.config import VLMConfig
from sightline.image_processing import default_image_processor
from sightline.interop.families import language_fields, names
from sightline.interop.language import copy_weights
from sightline.interop.parts import load_language, load_tokenizer, load_tower, read_config
from sightline.interop.templates import CHATML, frame
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.tokenizer import END_TOKEN, START_TOKEN, beginning_of

__all__ = ["OPEN", "compose"]

# Placeholders that tokenizers of other vision-language models have; the first is what the others get.
_IMAGE_TOKENS = ("<image>", "<|image_pad|>", "<|image|>")
_PAD = "<|pad|>"
# What is left to decide where both parts are given.
OPEN = names(
    "projector_type projector_bias projector_hidden_act pixel_shuffle_factor vision_feature_layer image_processor "
    "initializer_range dropout flash_attn aux_loss_alpha seq_aux router_z_loss_alpha"
)


def compose(
    vision: str | Path,
    language: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    trains_embeddings: bool = True,
    dtype: torch.dtype = torch.float32,
) -> tuple[VLM, VLMProcessor]:
    """A model of a CLIP or SigLIP tower and a language model of `families.FAMILIES`, and its processor.

    On text it computes what the language model computes, on pictures the tower's features; the projector between
    them is fresh, two layers as in LLaVA-1.5 (Liu et al., 2023) unless `overrides` say otherwise. Rows of the
    vocabulary that are new are the mean of the others (Hewitt, 2021).

    Args:
        vision: folder or hub id of a CLIP or SigLIP checkpoint, whole or vision only, or a checkpoint of ours, whose
            tower is taken.
        language: folder, hub id or GGUF file of a causal language model with a byte-level tokenizer.
        overrides: fields of `VLMConfig` that neither part decides, such as `projector_type` or `dropout`.
        trains_embeddings: False refuses a language model that would have to learn a new token to end a turn.

    Raises:
        FileNotFoundError: there is no checkpoint, or a part of it is missing.
        ImportError: a GGUF file is to be read, and the package for it is not installed.
        ValueError: a part is of no known family, the tokenizer is not byte-level, its chat template cannot be
            followed, or an override is not open.
    """
    fields = language_fields(read_config(language, "language model"))
    tower, images, layer = load_tower(vision)
    tokenizer = load_tokenizer(language)
    known = min(len(tokenizer), fields["vocab_size"])
    image_token = _complete(tokenizer)
    closing = _frame_template(tokenizer, image_token, language)
    if _id_of(tokenizer, closing) >= known and not trains_embeddings:
        raise ValueError(
            f"{str(language)!r} has never seen {closing}, which is to end its turns, and its embeddings are not "
            "trained (LoRA leaves them as they are): take its chat-tuned sibling"
        )
    open_fields = {"projector_type": "mlp", "vision_feature_layer": layer, **(overrides or {})}
    config = _config(fields | _special_ids(fields, tokenizer, closing), tower, open_fields)
    config.image_ids = [_id_of(tokenizer, image_token)] * config.num_image_tokens
    config.image_special_token = image_token * config.num_image_tokens
    config.image_processor = config.image_processor or images
    config.check()
    weights = load_language(language, dtype)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = _grown(weights[name], range(known, len(tokenizer)), config.vocab_size)
    model = _joined(config, tower, weights, dtype)
    model.config.vision_model_path = str(vision)  # a note of where it came from
    processor = VLMProcessor(
        default_image_processor(config), tokenizer, image_token=image_token, num_image_tokens=config.num_image_tokens
    )
    return model, processor


def _special_ids(fields: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast, closing: str) -> dict[str, Any]:
    ends = fields.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return {
        "vocab_size": max(len(tokenizer), fields["vocab_size"]),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": list(dict.fromkeys([_id_of(tokenizer, closing), *ends])),
    }


def _id_of(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    return tokenizer.get_vocab()[token]


def _config(fields: Mapping[str, Any], tower: Any, overrides: Mapping[str, Any]) -> VLMConfig:
    decided = overrides.keys() - OPEN
    if decided:
        raise ValueError(
            f"{', '.join(sorted(decided))} cannot be overridden, for the pretrained models decide it; "
            f"what can is {', '.join(sorted(OPEN))}"
        )
    return VLMConfig(**{**fields, "vision_config": deepcopy(tower.config.vision_config), **overrides})


def _joined(config: VLMConfig, tower: Any, language: dict[str, Tensor], dtype: torch.dtype) -> VLM:
    model = VLM._from_config(config, dtype=dtype)
    vision = tower.vision_model.state_dict(prefix="vision_encoder.vision_model.")
    copy_weights(model, language | vision | model.vision_proj.state_dict(prefix="vision_proj."))
    model.generation_config = GenerationConfig.from_model_config(config)
    return model.eval()


def _grown(rows: Tensor, new: range, count: int) -> Tensor:
    """`count` rows: the given ones, except that those in `new` and behind the given ones are the known ones' mean."""
    mean = rows[: new.start].float().mean(0).to(rows.dtype)
    grown = mean.repeat(count, 1)
    grown[: len(rows)] = rows
    grown[new.start : new.stop] = mean
    return grown


def _complete(tokenizer: PreTrainedTokenizerFast) -> str:
    """Add the tokens that are missing; return the image placeholder."""
    there = tokenizer.get_added_vocab()
    image_token = next((token for token in _IMAGE_TOKENS if token in there), _IMAGE_TOKENS[0])
    wanted = [image_token]
    if tokenizer.chat_template is None:
        wanted += [START_TOKEN, END_TOKEN]
    # One that also ends a turn would not learn: an embedding's padding row gets no gradient.
    if tokenizer.pad_token in (None, tokenizer.eos_token, END_TOKEN):
        wanted.append(_PAD)
        tokenizer.pad_token = _PAD
    new = [AddedToken(token, special=True, normalized=False) for token in wanted if token not in there]
    tokenizer.add_tokens(new, special_tokens=True)
    return image_token


def _begun(tokenizer: PreTrainedTokenizerFast) -> str:
    """How a template begins for a model that has seen its beginning-of-sequence token before every text."""
    return "{{- bos_token -}}" if beginning_of(tokenizer) else ""


def _frame_template(tokenizer: PreTrainedTokenizerFast, image_token: str, source: str | Path) -> str:
    """Give the tokenizer a template that shows images; return the token that ends the assistant's turn."""
    template = tokenizer.chat_template or (_begun(tokenizer) + CHATML)
    if isinstance(template, dict):
        template = template["default"]
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    try:
        tokenizer.chat_template, closing = frame(template, image_token, special, tokenizer.special_tokens_map)
    except ValueError as error:
        raise ValueError(f"the chat template of {str(source)!r} cannot be used: {error}") from None
    return closing
