"""The table of transformers' language models that `CausalLM` computes exactly, and how their configs read.

A family is the difference from our own config: fields under another name, and values that its code fixes.
Weights need no table, because ours are named as theirs. A field that a family's row does not mention must
have its default, or be off; then a checkpoint is refused by name rather than computed wrongly. This file
reads configs and knows no tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedConfig

from sightline.config import LLMConfig


def names(text: str) -> frozenset[str]:
    """The words of `text`: a table's row of field names."""
    return frozenset(text.split())


# Fields that every family and `LLMConfig` call by the same name.
_SHARED = names(
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
    "max_position_embeddings hidden_act rms_norm_eps initializer_range rope_parameters tie_word_embeddings "
    "use_cache pad_token_id bos_token_id eos_token_id"
)
# What says nothing about the arithmetic, or is read by a function below.
_BESIDE = names(
    "architectures dtype torch_dtype transformers_version model_type _name_or_path id2label label2id num_labels "
    "output_attentions output_hidden_states return_dict rope_theta rope_scaling partial_rotary_factor "
    "layer_types sliding_window use_sliding_window max_window_layers "
    "is_llama_config transformers.js_config unsloth_fixed unsloth_version"  # what other programs leave: SmolLM2 has two
)
_ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3")


@dataclass(frozen=True)
class Family:
    """One row: `renamed` maps our field to theirs, `fixed` our field to a value, `ignored` is theirs alone."""

    renamed: dict[str, str] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


def _same(text: str) -> dict[str, str]:
    return {name: name for name in text.split()}


_BIAS_EVERYWHERE = {"attention_bias": "attention_bias", "attention_output_bias": "attention_bias"}
_EXPERTS = {
    "n_routed_experts": "num_local_experts",
    "num_experts_per_token": "num_experts_per_tok",
    "output_router_logits": "output_router_logits",
}
_BALANCED = {"aux_loss_alpha": "router_aux_loss_coef"}

FAMILIES: dict[str, Family] = {
    "llama": Family(renamed=_BIAS_EVERYWHERE),
    "mistral": Family(),
    "qwen2": Family(fixed={"attention_bias": True}),
    "qwen3": Family(renamed=_BIAS_EVERYWHERE, fixed={"qk_norm": True}),
    "mixtral": Family(
        renamed=_EXPERTS | _BALANCED | {"moe_intermediate_size": "intermediate_size"},
        fixed={"use_moe": True},
    ),
    "qwen3_moe": Family(
        renamed=_BIAS_EVERYWHERE
        | _EXPERTS
        | _BALANCED
        | _same("moe_intermediate_size norm_topk_prob decoder_sparse_step mlp_only_layers"),
        fixed={"use_moe": True, "qk_norm": True},
    ),
    "glm4_moe": Family(
        renamed=_EXPERTS
        | {"qk_norm": "use_qk_norm"}
        | _same("attention_bias n_routed_experts n_shared_experts moe_intermediate_size first_k_dense_replace")
        | _same("norm_topk_prob routed_scaling_factor n_group topk_group"),
        # Balanced by the selection bias: transformers knows no auxiliary loss for it.
        fixed={"use_moe": True, "scoring_func": "sigmoid", "use_router_bias": True, "aux_loss_alpha": 0.0},
        # Extra modules that draft further tokens, not part of the model proper.
        ignored=names("num_nextn_predict_layers num_mtp_layers"),
    ),
}


def from_transformers_config(config: PreTrainedConfig) -> LLMConfig:
    """The same model as one of ours.

    Raises:
        ValueError: the family is not in `FAMILIES`, or a field asks for what ours cannot compute.
    """
    return LLMConfig(**language_fields(config))


def language_fields(config: PreTrainedConfig) -> dict[str, Any]:
    """The fields of `LLMConfig` that describe `config`. Raises as `from_transformers_config`."""
    if config.model_type not in FAMILIES:
        raise ValueError(f"model_type={config.model_type!r} is none of {', '.join(sorted(FAMILIES))}")
    family, known = FAMILIES[config.model_type], theirs_of(config.model_type)
    refuse_unknown(config, _BESIDE | family.ignored | set(known.values()))
    _check_rope(config)
    fields = {ours: getattr(config, theirs) for ours, theirs in known.items() if hasattr(config, theirs)}
    return fields | {"sliding_window": _sliding_window(config)} | family.fixed


def theirs_of(model_type: str) -> dict[str, str]:
    """Our field's name to that of a family."""
    return {name: name for name in _SHARED} | FAMILIES[model_type].renamed


def refuse_unknown(config: PreTrainedConfig, known: Iterable[str]) -> None:
    """Raise ValueError for a field outside `known` that is neither at its default nor, if undeclared, off."""
    defaults = type(config)().to_dict()
    for name, value in config.to_dict().items():
        harmless = value == defaults[name] if name in defaults else not value
        if name not in known and not harmless:
            raise ValueError(f"{name}={value!r} of a {config.model_type!r} model is not supported")


def _check_rope(config: PreTrainedConfig) -> None:
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    nested = [value for value in (config.rope_parameters or {}).values() if isinstance(value, dict)]
    if kind not in _ROPE_TYPES or nested:
        shown = f"rope_parameters={config.rope_parameters!r}" if nested else f"rope_type={kind!r}"
        raise ValueError(f"{shown} is not supported; use one of {', '.join(_ROPE_TYPES)} for all layers")
    # GLM's code turns a part of each head; the others would turn all of it, whatever is written there.
    part = (config.rope_parameters or {}).get("partial_rotary_factor") or 1.0
    if part != 1.0 and config.model_type != "glm4_moe":
        raise ValueError(f"partial_rotary_factor={part} of a {config.model_type!r} model is not supported")


def _sliding_window(config: PreTrainedConfig) -> int | None:
    kinds = set(getattr(config, "layer_types", None) or ())
    if len(kinds) > 1 or kinds - {"full_attention", "sliding_attention"}:
        raise ValueError(f"layer_types={config.layer_types!r} is not supported: one kind for all layers")
    return None if kinds == {"full_attention"} else getattr(config, "sliding_window", None)
