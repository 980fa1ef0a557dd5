"""What of a picture the model sees: a processor may crop it. It knows sizes, not pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline.explain.explanation import Region

__all__ = ["WHOLE", "crops", "seen_region"]

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


def crops(image_processor: Any) -> bool:
    """Whether a part of some pictures is cut away."""
    return bool(getattr(image_processor, "do_center_crop", False))


def seen_region(image_processor: Any, size: Sequence[int]) -> Region:
    """The part of a picture of `size` (width, height) that `image_processor` keeps. A crop wider than the picture,
    which it fills up, reaches over its edges: below 0 and above 1."""
    if not crops(image_processor):
        return WHOLE
    width, height = size
    crop = image_processor.crop_size
    if getattr(image_processor, "do_resize", False):
        wanted = dict(image_processor.size)
        if shortest := wanted.get("shortest_edge"):
            scale = shortest / min(size)
            width, height = width * scale, height * scale
        else:
            width, height = wanted["width"], wanted["height"]
    across, down = crop["width"] / width / 2, crop["height"] / height / 2
    return 0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down
