"""What a recipe may override of a preset: fields that exist, values that go together.

Asked when the recipe is read, so that a slip of the pen costs seconds. Nothing is built here.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from sightline.config import VLMConfig
from sightline.training.sections import Misplaced, hint, merged

__all__ = ["check_composed", "check_overrides"]


def check_overrides(preset: dict[str, Any], overrides: dict[str, Any]) -> None:
    """Raise a ValueError for a field that `VLMConfig` or the tower's config lacks, or values that contradict."""
    tower = overrides.get("vision_config", {})
    if not isinstance(tower, dict):
        raise Misplaced(("vision_config",), f"takes a mapping of the tower's fields, not {tower!r}")
    changed = merged(preset, overrides)
    known = _tower_fields(changed["vision_config"]["model_type"])
    for name in tower:
        if known and name not in known:
            raise Misplaced(("vision_config", name), f"is no field of the tower's config{hint(name, known)}")
    try:
        VLMConfig(**changed)
    except StrictDataclassError as error:  # of several lines
        raise ValueError(" ".join(str(error).split())) from None


def check_composed(overrides: dict[str, Any]) -> None:
    """Raise a ValueError for a field that two pretrained models leave no choice of."""
    from sightline.interop.compose import OPEN

    known = ", ".join(sorted(OPEN))
    for name in overrides:
        if name not in OPEN:
            decided = "cannot be overridden, for the pretrained models decide it"
            raise Misplaced((name,), f"{decided}{hint(name, OPEN) or f'; what can is {known}'}")


def _tower_fields(kind: str) -> set[str]:
    """The names that a tower's config takes; none for a kind that `VLMConfig` will refuse."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        return set()
    config = CONFIG_MAPPING[kind]
    return {"model_type", *config.attribute_map, *(field.name for field in fields(config))}
