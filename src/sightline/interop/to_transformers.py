"""A `VLM` as transformers' `LlavaForConditionalGeneration`: the same numbers, for every program that reads LLaVA.

transformers, vLLM and llama.cpp know no projector of one layer, but a model that is at least twice as wide as its
tower has one of two that computes the same. The configs are read back with `families.py` and compared, so what these
classes cannot compute is refused and never approximated.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    ProcessorMixin,
)

from sightline.config import LLMConfig, VLMConfig
from sightline.engine.quantize import is_quantized
from sightline.interop.families import FAMILIES, from_transformers_config, names, theirs_of
from sightline.interop.llava import PREFIXES, SELECT
from sightline.nn.vlm import VLM
from sightline.whole_file import new_folder

__all__ = ["llava_from_vlm", "save_as_llava", "to_transformers_config"]

# What says how a model is trained or run, and not what it computes.
_BESIDE = names(
    "architectures dtype transformers_version model_type _name_or_path dropout flash_attn logits_to_keep "
    "initializer_range use_cache output_router_logits aux_loss_alpha seq_aux router_z_loss_alpha "
    "router_bias_update_rate tie_word_embeddings pad_token_id bos_token_id eos_token_id"
)
_EXPERTS = names(
    "n_routed_experts num_experts_per_token n_shared_experts scoring_func softmax_after_topk use_router_bias n_group "
    "topk_group norm_topk_prob routed_scaling_factor first_k_dense_replace decoder_sparse_step mlp_only_layers "
    "moe_intermediate_size"
)

_WHOLE_HEADS = {"partial_rotary_factor": 1.0}  # all that is turned, where a config does not say


def save_as_llava(model: VLM, processor: ProcessorMixin, folder: str | Path) -> Path:
    """Write `model` and its processor to `folder` as a Llava checkpoint, and return the folder.

    Raises:
        FileExistsError: `folder` is there and is not empty.
        ValueError: the model has a part that Llava lacks.
    """
    folder = Path(folder)
    with new_folder(folder) as inside:
        converted = llava_from_vlm(model)
        converted.save_pretrained(inside, state_dict=_as_published(converted.state_dict()))
        llava_processor(model.config, processor).save_pretrained(inside)
    return folder


def llava_from_vlm(model: VLM) -> LlavaForConditionalGeneration:
    """`model` as a Llava model with its own copy of the weights: same dtype, device and generation settings.

    Raises:
        ValueError: naming the part or field that Llava lacks; or the model is int8.
    """
    if is_quantized(model):
        raise ValueError("the model is int8, which Llava has no place for: convert the one that it was made from")
    config = to_llava_config(model.config)
    weights = {_renamed(key): weight for key, weight in _with_two_layers(model).items()}
    converted = LlavaForConditionalGeneration._from_config(config, dtype=model.dtype)
    own = converted.state_dict()
    if wrong := own.keys() ^ weights.keys():
        raise ValueError(f"Llava and this model do not have the same weights: {', '.join(sorted(wrong)[:5])}")
    converted.load_state_dict(weights)
    converted.generation_config = deepcopy(model.generation_config)
    unsaid = {*(converted.generation_config.suppress_tokens or ()), model.config.image_token_id}
    converted.generation_config.suppress_tokens = sorted(unsaid)
    return converted.to(model.device).eval()


def to_llava_config(config: VLMConfig) -> LlavaConfig:
    """The config of the same model as Llava. Raises ValueError naming what Llava lacks."""
    tower = deepcopy(config.vision_config)
    if tower.model_type not in SELECT:
        raise ValueError(f"Llava takes no tower of kind {tower.model_type!r}: {', '.join(SELECT)} can be converted")
    if config.pixel_shuffle_factor != 1:
        raise ValueError(f"Llava folds no patches: pixel_shuffle_factor is {config.pixel_shuffle_factor}, not 1")
    width = tower.hidden_size
    if config.projector_type == "linear" and config.hidden_size < 2 * width:
        raise ValueError(
            f"a linear projector fits into Llava's two layers where hidden_size is at least twice the tower's: "
            f"{config.hidden_size} is less than 2 x {width}"
        )
    return LlavaConfig(
        vision_config=tower,
        text_config=to_transformers_config(config),
        image_token_index=config.image_token_id,
        image_seq_length=config.num_image_tokens,
        projector_hidden_act="gelu" if config.projector_type == "linear" else config.projector_hidden_act,
        multimodal_projector_bias=config.projector_bias,
        vision_feature_layer=config.vision_feature_layer,
        vision_feature_select_strategy=SELECT[tower.model_type],  # type: ignore[arg-type]
        tie_word_embeddings=config.tie_word_embeddings,
    )


def to_transformers_config(config: LLMConfig) -> PreTrainedConfig:
    """The first family of `FAMILIES` whose config reads back as `config`.

    Raises:
        ValueError: there is none; the fields that stand in the way of the nearest one are named.
    """
    nearest: tuple[str, list[str]] | None = None
    for kind in FAMILIES:
        usual = AutoConfig.for_model(kind)
        fields = {theirs: getattr(config, ours) for ours, theirs in theirs_of(kind).items()}
        if "partial_rotary_factor" in (usual.rope_parameters or {}):  # GLM turns half of each head unless told
            fields["rope_parameters"] = _WHOLE_HEADS | (config.rope_parameters or {})
        if config.sliding_window is not None:
            if not hasattr(usual, "sliding_window"):
                continue  # it would keep the number, and attend to everything
            fields |= {"sliding_window": config.sliding_window, "use_sliding_window": True, "max_window_layers": 0}
        try:
            found = AutoConfig.for_model(kind, **fields)
            wrong = _differences(config, from_transformers_config(found))
        except (ValueError, TypeError):
            continue
        if not wrong:
            return found
        if nearest is None or len(wrong) < len(nearest[1]):
            nearest = kind, wrong
    reason = "" if nearest is None else f"; of the nearest, {nearest[0]}, {', '.join(nearest[1])} is different"
    raise ValueError(f"no language model of transformers computes the same as this one{reason}")


def llava_processor(config: VLMConfig, processor: Any) -> LlavaProcessor:
    """The processor that prepares the same ids and pixels in transformers."""
    strategy = SELECT[config.vision_config.model_type]
    return LlavaProcessor(
        image_processor=processor.image_processor,
        tokenizer=processor.tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=strategy,
        chat_template=processor.chat_template,
        image_token=processor.image_token,
        num_additional_image_tokens=1 if strategy == "default" else 0,
    )


def _differences(wanted: LLMConfig, found: LLMConfig) -> list[str]:
    """The fields in which `found` computes something else."""
    ignored = _BESIDE if wanted.use_moe else _BESIDE | _EXPERTS
    compared = found.to_dict().keys() - ignored
    return sorted(name for name in compared if _value(wanted, name) != _value(found, name))


def _value(config: LLMConfig, name: str) -> Any:
    value = getattr(config, name)
    if name == "rope_parameters":
        return _WHOLE_HEADS | (value or {})
    return None if value == [] else value  # no layers, either way


def _with_two_layers(model: VLM) -> Mapping[str, Tensor]:
    """The model's weights, a linear projector as two layers: gelu(x) - gelu(-x) is x."""
    weights = dict(model.state_dict())
    config = model.config
    if config.projector_type != "linear":
        return weights
    name = "vision_proj.vision_proj"
    matrix = weights[f"{name}.0.weight"]
    hidden, width = matrix.shape
    first = matrix.new_zeros(hidden, width)
    first[: 2 * width] = torch.cat([eye := torch.eye(width, dtype=matrix.dtype, device=matrix.device), -eye])
    second = matrix.new_zeros(hidden, hidden)
    second[:, : 2 * width] = torch.cat([matrix, -matrix], dim=1)
    weights |= {f"{name}.0.weight": first, f"{name}.2.weight": second}
    if config.projector_bias:
        weights[f"{name}.2.bias"] = weights[f"{name}.0.bias"]
        weights[f"{name}.0.bias"] = torch.zeros_like(weights[f"{name}.2.bias"])
    return weights


def _as_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tower's weights by the names of published checkpoints, the only ones that vLLM knows.

    transformers reads these too, but of itself writes those of its own classes, which lack `vision_model`.
    """
    tower = "model.vision_tower."
    return {
        f"{tower}vision_model.{key.removeprefix(tower)}" if key.startswith(tower) else key: weight
        for key, weight in weights.items()
    }


def _renamed(key: str) -> str:
    for theirs, ours in PREFIXES.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise ValueError(f"Llava has no place for {key}")
