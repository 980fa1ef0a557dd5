"""Every object of a picture with its box and its exact name, for training that matches regions and texts.

It does not know how pictures are drawn or how regions are learned from.
"""

from dataclasses import dataclass

from PIL import Image

from sightline.data.scenes.scene import Box

__all__ = ["Regions"]


@dataclass(frozen=True)
class Regions:
    """A picture, boxes in it as (x0, y0, x1, y1) fractions of its side, and the text of each box."""

    image: Image.Image
    boxes: list[Box]
    texts: list[str]
