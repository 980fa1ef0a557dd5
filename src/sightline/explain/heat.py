"""How strong a patch is shown, and in which colours: what the page and the contact sheet have in common.

It knows maps and pictures, no words.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from sightline.explain.explanation import Region, Word

__all__ = ["STOPS", "levels", "overlay"]

# Position, red, green, blue, opacity: from nothing over violet and orange to yellow, evenly brighter.
STOPS = (
    (0.0, 60, 15, 110, 0.0),
    (0.25, 95, 20, 120, 0.45),
    (0.55, 205, 60, 65, 0.7),
    (0.8, 250, 145, 20, 0.8),
    (1.0, 250, 235, 110, 0.88),
)
LEAST_LOSS = 0.05  # a word whose largest loss is below this much probability is shown as weakly as that
COLOUR_KEPT = 0.5  # of the picture under the heat, whose colours would be taken for the heat's


def levels(word: Word, kind: str) -> tuple[np.ndarray, float]:
    """A word's "attention" or "occlusion" as 0 to 1 [images, rows, cols], and the value that 1 stands for.

    One scale for all of a word's pictures; what a word gains from being hidden counts as 0.
    """
    values = np.clip(word.attention if kind == "attention" else _lost(word), 0, None)
    scale = max(float(values.max()), LEAST_LOSS if kind == "occlusion" else 1e-9)
    return values / scale, scale


def _lost(word: Word) -> np.ndarray:
    assert word.occlusion is not None
    return word.occlusion


def overlay(picture: Image.Image, heat: np.ndarray, region: Region) -> Image.Image:
    """`picture`, paler, under the heat [rows, cols] of its `region`; what the model did not see is dark."""
    grey = picture.convert("L").convert("RGB")
    pale = Image.blend(grey, picture.convert("RGB"), COLOUR_KEPT)
    left, top, right, bottom = (round(edge * side) for edge, side in zip(region, (*pale.size, *pale.size), strict=True))
    seen = Image.new("RGBA", pale.size, (0, 0, 0, 150))
    layer = Image.fromarray(_coloured(heat), "RGBA").resize((right - left, bottom - top), Image.Resampling.NEAREST)
    seen.paste(layer, (left, top))
    return Image.alpha_composite(pale.convert("RGBA"), seen).convert("RGB")


def _coloured(heat: np.ndarray) -> np.ndarray:
    """uint8 [rows, cols, 4]: between the stops each channel goes in a straight line."""
    at, *channels = zip(*STOPS, strict=True)
    scaled = [np.interp(heat, at, channel) for channel in channels]
    return np.stack([*scaled[:3], 255 * scaled[3]], axis=-1).round().astype(np.uint8)
