"""The configs nested in ours: a vision tower's and its text half's, from whatever describes them."""

from __future__ import annotations

from typing import Any

from transformers.configuration_utils import PreTrainedConfig

__all__ = ["sub_config", "tower_config"]


def tower_config(given: Any, width: int | None) -> PreTrainedConfig:
    """The tower that `given` describes: a config, its fields, or None for a CLIP tower `width` wide.

    Raises:
        ValueError: as `sub_config`.
    """
    if isinstance(given, PreTrainedConfig):
        return _alone(given)
    if given is None:
        width = width or 768
        heads = max(width // 64, 1)
        given = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": heads, "patch_size": 16}
    return _alone(sub_config(given, "clip_vision_model"))


def _alone(config: Any) -> PreTrainedConfig:
    """The vision half, where `config` describes a whole CLIP or SigLIP model."""
    return getattr(config, "vision_config", config)


def sub_config(given: dict, default_type: str) -> PreTrainedConfig:
    """The config with these fields, of `default_type` where they name no `model_type`.

    Raises:
        ValueError: transformers knows no such `model_type`.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = given.get("model_type", default_type)
    if kind not in CONFIG_MAPPING:
        raise ValueError(f"transformers knows no model_type={kind!r}")
    return CONFIG_MAPPING[kind](**{name: value for name, value in given.items() if name != "model_type"})
