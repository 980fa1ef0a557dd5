"""Labels on a picture, in whatever script: fonts that hold the letters, or the letters' code points instead.

The typefaces that ship hold Latin letters only, so others are looked for among the system's. It knows no words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from io import BytesIO

from PIL import ImageFont

__all__ = ["lettering"]

# By file name, which Pillow finds in the system's folders: wide ones first, for Linux, macOS and Windows.
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "SourceHanSansCN-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "msyh.ttc",
    "simsun.ttc",
    "DejaVuSans.ttf",
)
_NO_LETTER = "\U0010ffff"  # a noncharacter, so every font draws its box for it

Font = ImageFont.FreeTypeFont


def lettering(text: str, size: int, names: Sequence[str] = SYSTEM_FONTS) -> tuple[str, Font]:
    """`text` and a font of `size` pixels that holds all of it.

    Where there is no such font, letters that the shipped one lacks are written as U+4E00 is here.
    """
    shipped = _shipped(size)
    if not (lacking := _lacking(shipped, text)):
        return text, shipped
    for name in names:
        font = _system(name, size)
        if font is not None and not _lacking(font, text):
            return text, font
    return "".join(f"U+{ord(letter):04X}" if letter in lacking else letter for letter in text), shipped


@lru_cache
def _shipped(size: int) -> Font:
    data = (resources.files("sightline") / "assets" / "fonts" / "sans.ttf").read_bytes()
    return ImageFont.truetype(BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache
def _system(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return None


def _lacking(font: Font, text: str) -> set[str]:
    box = bytes(font.getmask(_NO_LETTER))
    return {letter for letter in text if not letter.isspace() and bytes(font.getmask(letter)) == box}
