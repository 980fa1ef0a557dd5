"""Printed text as pixels: a mask of a word in one of the shipped typefaces, at any size and angle.

Text is drawn once, large, and scaled: its proportions are the same at every resolution, so that a region given
in fractions of the picture is true for all of them. It does not know what is printed, or where.
"""

import math
from functools import lru_cache
from importlib import resources
from io import BytesIO

from PIL import Image, ImageFont, ImageOps

from sightline.data.scenes.atlas import check_name

__all__ = ["FONTS", "HELD_OUT_FONTS", "paste_text", "text_extent"]

FONTS = ("sans", "serif", "mono", "bold", "slab", "hand", "condensed", "rounded")
HELD_OUT_FONTS = ("garamond", "script")  # never in training
EM = 96  # pixels: the size at which text is drawn before it is scaled


@lru_cache(maxsize=len(FONTS) + len(HELD_OUT_FONTS))
def _font(name: str) -> ImageFont.FreeTypeFont:
    check_name("font", name, (*FONTS, *HELD_OUT_FONTS))
    data = (resources.files("sightline") / "assets" / "fonts" / f"{name}.ttf").read_bytes()
    # The basic engine places letters alike on every machine; the other one is not always there.
    return ImageFont.truetype(BytesIO(data), EM, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=512)  # about 15 MB
def _ink(text: str, font: str) -> Image.Image:
    """The text at EM pixels, an "L" mask trimmed to its ink. Shared: do not change it."""
    left, top, right, bottom = _font(font).getbbox(text)
    if right <= left or bottom <= top:
        raise ValueError(f"{text!r} leaves no ink in the font {font!r}: print at least one visible character")
    mask, _ = _font(font).getmask2(text, mode="L")
    image = Image.new("L", mask.size)
    image.im.paste(mask, (0, 0, *mask.size))
    return image.crop(image.getbbox())


def text_extent(text: str, font: str, em: float, angle: float = 0.0) -> tuple[float, float]:
    """Width and height of the text's ink, in the unit of `em`, the height of a line.

    Raises:
        ValueError: for an unknown font, or text without ink.
    """
    width, height = (side / EM * em for side in _ink(text, font).size)
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return width * cosine + height * sine, width * sine + height * cosine


def paste_text(
    canvas: Image.Image,
    text: str,
    font: str,
    em: float,
    centre: tuple[float, float],
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
