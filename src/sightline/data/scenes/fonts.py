"""Printed text as pixels: a mask of a word in one of the shipped typefaces, at any size and angle.

Text is drawn once, large, and scaled: its proportions are the same at every resolution, so that a region given
in fractions of the picture is true for all of them. It does not know what is printed, or where.
"""

import itertools
import math
from functools import lru_cache
from importlib import resources
from io import BytesIO

from PIL import Image, ImageFont, ImageOps

from sightline.data.scenes.atlas import check_name
from sightline.data.scenes.scene import Box

__all__ = ["FONTS", "HELD_OUT_FONTS", "letter_boxes", "paste_text", "text_box", "text_extent"]

FONTS = ("sans", "serif", "mono", "bold", "slab", "hand", "condensed", "rounded")
HELD_OUT_FONTS = ("garamond", "script")  # never in training
EM = 96  # pixels: the size at which text is drawn before it is scaled

Point = tuple[float, float]


@lru_cache(maxsize=len(FONTS) + len(HELD_OUT_FONTS))
def _font(name: str) -> ImageFont.FreeTypeFont:
    check_name("font", name, (*FONTS, *HELD_OUT_FONTS))
    data = (resources.files("sightline") / "assets" / "fonts" / f"{name}.ttf").read_bytes()
    # The basic engine places letters alike on every machine; the other one is not always there.
    return ImageFont.truetype(BytesIO(data), EM, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=512)  # about 15 MB
def _inked(text: str, font: str) -> tuple[Image.Image, int]:
    """The text at EM pixels, an "L" mask trimmed to its ink (shared: do not change it), and where that begins.

    The beginning is in pixels from where the pen starts.
    """
    left, top, right, bottom = _font(font).getbbox(text)
    if right <= left or bottom <= top:
        raise ValueError(f"{text!r} leaves no ink in the font {font!r}: print at least one visible character")
    mask, offset = _font(font).getmask2(text, mode="L")
    image = Image.new("L", mask.size)
    image.im.paste(mask, (0, 0, *mask.size))
    trimmed = image.getbbox()
    assert trimmed is not None  # it has ink
    return image.crop(trimmed), offset[0] + trimmed[0]


def _ink(text: str, font: str) -> Image.Image:
    return _inked(text, font)[0]


def text_extent(text: str, font: str, em: float, angle: float = 0.0) -> tuple[float, float]:
    """Width and height of the text's ink, in the unit of `em`, the height of a line.

    Raises:
        ValueError: for an unknown font, or text without ink.
    """
    width, height = (side / EM * em for side in _ink(text, font).size)
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return width * cosine + height * sine, width * sine + height * cosine


def text_box(text: str, font: str, em: float, centre: Point, angle: float = 0.0) -> Box:
    """Left, top, right and bottom of the text's ink around `centre`, all in one unit. Raises as `text_extent`."""
    width, height = text_extent(text, font, em, angle)
    return centre[0] - width / 2, centre[1] - height / 2, centre[0] + width / 2, centre[1] + height / 2


def letter_boxes(text: str, font: str, em: float, centre: Point, angle: float = 0.0) -> list[tuple[Box, str]]:
    """The box of each letter, as `text_box` tells the text's, and which letter it is. Raises as `text_extent`.

    A letter is as high as the text's ink and as wide as the pen moves for it; where the text is turned, its box is
    what holds it then.
    """
    ink, begins = _inked(text, font)
    width, height = ink.size
    # The ink of the first and the last may reach beyond where the pen starts and stops.
    pens = [0.0, *(_font(font).getlength(text[:end]) - begins for end in range(1, len(text))), float(width)]
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    scale, boxes = em / EM, []
    for (left, right), letter in zip(itertools.pairwise(pens), text, strict=True):
        along = (left + right - width) / 2  # on the line through the ink's centre
        x, y = centre[0] + along * cosine * scale, centre[1] - along * sine * scale
        half_wide = ((right - left) * cosine + height * abs(sine)) / 2 * scale
        half_high = ((right - left) * abs(sine) + height * cosine) / 2 * scale
        boxes.append(((x - half_wide, y - half_high, x + half_wide, y + half_high), letter))
    return boxes


def paste_text(
    canvas: Image.Image,
    text: str,
    font: str,
    em: float,
    centre: Point,
    colour: tuple[int, int, int],
    angle: float = 0.0,
) -> None:
    """Print `text` on the canvas; `em` and `centre` are in pixels, `angle` in degrees, anticlockwise.

    Raises:
        ValueError: for an unknown font, or text without ink.
    """
    ink = _ink(text, font)
    width, height = (max(1, round(side / EM * em)) for side in ink.size)
    mask = ink.resize((width, height), Image.Resampling.LANCZOS)
    if angle:
        # A rim for the edge to fade into.
        mask = ImageOps.expand(mask, 1).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    corner = round(centre[0] - mask.width / 2), round(centre[1] - mask.height / 2)
    canvas.paste(colour, corner, mask)
