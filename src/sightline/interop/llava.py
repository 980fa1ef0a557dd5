"""transformers' `LlavaForConditionalGeneration` (LLaVA-1.5 and its kin) as a `VLM`: the same numbers.

The tower is CLIP or SigLIP, the language model any family of `families.py`. Image processors and tokenizers
are not read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration

from sightline.config import VLMConfig
from sightline.interop.families import language_fields, names, refuse_unknown
from sightline.interop.language import adopt, whole
from sightline.nn.vlm import VLM

# Their prefix -> ours; the first that fits.
PREFIXES = {
    "model.vision_tower.": "vision_encoder.vision_model.",
    "model.multi_modal_projector.linear_1.": "vision_proj.vision_proj.0.",
    "model.multi_modal_projector.linear_2.": "vision_proj.vision_proj.2.",
    "model.language_model.": "model.",
    "lm_head.": "lm_head.",
}
# What each tower puts first decides what may be dropped: CLIP's [CLS] must go, SigLIP has none.
SELECT = {"clip_vision_model": "default", "siglip_vision_model": "full"}
# `image_seq_length` only tells transformers' processor what the tower's geometry tells ours.
_KNOWN = names(
    "architectures dtype transformers_version model_type _name_or_path id2label label2id vision_config "
    "text_config image_token_index image_token_id image_seq_length projector_hidden_act tie_word_embeddings "
    "vision_feature_select_strategy vision_feature_layer multimodal_projector_bias pad_token_id "
    "bos_token_id eos_token_id ignore_index vocab_size"
)


def vlm_from_llava(source: LlavaForConditionalGeneration | str | Path, take: bool = False) -> VLM:
    """`source`, a Llava model or its folder or hub id, as a `VLM` with its own copy of the weights.

    `take`: with the weights themselves, so that a large model lies in memory once; `source` is spent then.

    Raises:
        ValueError: a field asks for what ours cannot compute, or a weight is left over or missing.
        OSError: there is no checkpoint at `source`.
    """
    given = isinstance(source, LlavaForConditionalGeneration)
    model: Any = source if given else whole(LlavaForConditionalGeneration, source)  # type: ignore[arg-type]
    return adopt(VLM, from_llava_config(model.config), model, rename, take or not given)


def from_llava_config(config: LlavaConfig) -> VLMConfig:
    """The same model as one of ours. Raises ValueError naming the field that ours cannot compute."""
    refuse_unknown(config, _KNOWN)
    _check_features(config)
    tower: Any = deepcopy(config.vision_config)
    tokens = (tower.image_size // tower.patch_size) ** 2
    text: Any = config.text_config
    fields = language_fields(text) | {"tie_word_embeddings": config.tie_word_embeddings}
    return VLMConfig(
        image_ids=[config.image_token_index] * tokens,
        vision_config=tower,
        vision_feature_layer=config.vision_feature_layer,  # type: ignore[arg-type]
        projector_type="mlp",
        projector_bias=config.multimodal_projector_bias,
        projector_hidden_act=config.projector_hidden_act,
        **fields,
    )


def rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Llava's keys as ours; an unknown key stays as it is, and is left over."""
    return {_renamed(key): weight for key, weight in weights.items()}


def _renamed(key: str) -> str:
    for theirs, ours in PREFIXES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def _check_features(config: LlavaConfig) -> None:
    kind, layer = config.vision_config.model_type, config.vision_feature_layer  # type: ignore[union-attr]
    if kind not in SELECT:
        raise ValueError(f"vision_config.model_type={kind!r} is none of {', '.join(sorted(SELECT))}")
    if not isinstance(layer, int):
        raise ValueError(f"vision_feature_layer={layer!r} is not supported: one layer, not several")
    strategy = config.vision_feature_select_strategy
    if strategy != SELECT[kind]:
        raise ValueError(
            f"vision_feature_select_strategy={strategy!r} is not supported for {kind!r}: use {SELECT[kind]!r}"
        )
