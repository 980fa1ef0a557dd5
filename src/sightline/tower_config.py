"""The configs nested in ours: a vision tower's and its text half's, from whatever describes them."""

from __future__ import annotations

from typing import Any

from transformers.configuration_utils import PreTrainedConfig

__all__ = ["sub_config", "tower_config"]


IMAGE_SIZE = 224  # of CLIP's towers
HEAD_DIM = 64


def tower_config(given: Any, width: int | None, side: int = 14) -> PreTrainedConfig:
    """The tower that `given` describes: a config, its fields, or None for a CLIP tower.

    That one is `width` wide (None: 768), of 224 pixels a side, which `side` patches span.

    Raises:
        ValueError: as `sub_config`.
    """
    if isinstance(given, PreTrainedConfig):
        return _alone(given)
    if given is None:
        width = width or 768
        heads = next(heads for heads in range(max(width // HEAD_DIM, 1), 0, -1) if width % heads == 0)
        given = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": heads}
        given |= {"image_size": IMAGE_SIZE, "patch_size": IMAGE_SIZE // side}
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
