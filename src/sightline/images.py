"""From whatever holds a picture (path, bytes, data URI, PIL image, any mode) to an RGB `PIL.Image`.

Everything that can be wrong with a file is found here, before a tensor exists, and is one `ValueError` or
`FileNotFoundError` of one line. Sizes, crops and normalisation are the image processor's (`image_processing.py`);
this file runs no model, and fetches nothing from the network.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import struct
import zlib
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "ImageSource",
    "formats_of",
    "lies_on_its_side",
    "load_rgb",
    "open_image",
    "renamed",
    "to_rgb",
]

ImageSource: TypeAlias = str | os.PathLike | bytes | bytearray | memoryview | Image.Image

# Named one by one: each further decoder that a stranger's file can reach is one more that can go wrong.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# What is read of files that lie here, by their names' endings: whoever calls a file so says what it is.
_BY_ENDING = {
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".jp2", ".j2k"), "JPEG2000"),
    ".tga": "TGA",
    ".ico": "ICO",
    ".avif": "AVIF",
}
# Photos as sensors took them; Pillow would read the small preview in them.
_RAW = frozenset({".dng", ".cr2", ".nef", ".arw"})
MAX_PIXELS = 89_478_485  # from where on Pillow itself warns: a quarter of a gigabyte as RGB
MAX_BYTES = 256 * 2**20  # a file of more holds more pixels than that, or no picture
# What Pillow's decoders raise on bytes that are not what they claim to be.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)


def open_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open `source` (a path, the bytes of a file, a `data:` URI or a PIL image) and decode it.

    The size comes from the header, so a picture of too many pixels is refused before any is decoded. Of an
    animation this is the first frame.

    Raises:
        FileNotFoundError: there is no file at the path.
        ValueError: the source is no image, is damaged or cut short, is too large, or is a URL.
    """
    if isinstance(source, Image.Image):
        _check_size(source, "the image", max_pixels)
        return _load(source, "the image")
    data, name = _read(source)
    try:
        image = Image.open(io.BytesIO(data), formats=formats_of(source))
    except UnidentifiedImageError:
        raise ValueError(
            f"{name} is not an image that can be read ({', '.join(FORMATS)}): save it as PNG or JPEG"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"{name} has more than the {max_pixels} pixels allowed") from None
    except _DAMAGED as error:
        raise ValueError(f"{name} is damaged: {_one_line(error)}") from None
    _check_size(image, name, max_pixels)
    return _load(image, name)


def formats_of(source: ImageSource) -> tuple[str, ...]:
    """The names of the formats, as Pillow has them, that `source` may be of."""
    if not isinstance(source, (str, os.PathLike)) or str(source)[:5].lower() == "data:":
        return FORMATS
    ending = os.path.splitext(os.fspath(source))[1].lower()
    if ending in _RAW:
        return ()
    more = _BY_ENDING.get(ending)
    return FORMATS if more is None or (more == "AVIF" and not features.check("avif")) else (*FORMATS, more)


def load_rgb(source: ImageSource, where: str) -> Image.Image:
    """`open_image` and `to_rgb`, whose errors begin with `where`."""
    try:
        return to_rgb(open_image(source))
    except (ValueError, FileNotFoundError) as error:
        raise renamed(error, f"{where}: {error}") from None


def renamed(error: ValueError | OSError, message: str) -> ValueError | FileNotFoundError:
    """The same error with another message. Of a kind below the two, which may be made otherwise, the kind above."""
    return FileNotFoundError(message) if isinstance(error, FileNotFoundError) else ValueError(message)


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` in mode RGB, turned upright as its EXIF says, transparency composited on white.

    Raises:
        ValueError: the mode has no meaning as a colour picture (LAB), or there are no pixels.
    """
    if 0 in image.size:
        raise ValueError(f"the image has no pixels: its size is {image.width} x {image.height}")
    image = _upright(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    if image.mode == "La":  # premultiplied grey converts to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        coloured = image if image.mode == "RGBA" else image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError:
        raise ValueError(f"an image of mode {image.mode!r} cannot become RGB") from None


def _read(source: ImageSource) -> tuple[bytes, str]:
    """The bytes of the file, and how an error message calls it."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "the image given as bytes"
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _read_data_uri(source), "the image in the data URI"
    if isinstance(source, str) and source[:8].lower().startswith(("http://", "https://")):
        raise ValueError(f"{_short(source)} is a URL, and images are not downloaded here: give the bytes")
    if not isinstance(source, (str, os.PathLike)):
        got = type(source).__name__
        raise ValueError(f"an image is a path, bytes, a data URI or a PIL image, but not {got}")
    name = _short(os.fspath(source))
    try:
        with open(source, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no image file {name}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or _one_line(error)
        raise ValueError(f"the image file {name} cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"the image file {name} has more than the {MAX_BYTES} bytes allowed")
    return data, name


def _read_data_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise ValueError("the data URI has no comma between its type and its data")
    try:
        if not head.lower().endswith(";base64"):
            return unquote_to_bytes(body)
        return base64.b64decode("".join(unquote_to_bytes(body).decode("ascii").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        kind = "base64" if head.lower().endswith(";base64") else "text"
        raise ValueError(f"the data URI is not valid {kind}: {_one_line(error)}") from None


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ValueError(f"{name} is {image.width} x {image.height}: more than the {max_pixels} pixels allowed")


def _load(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
    except _DAMAGED as error:
        raise ValueError(f"{name} is damaged or cut short: {_one_line(error)}") from None
    return image


def lies_on_its_side(image: Image.Image) -> bool:
    """Whether `to_rgb` will swap its width and height. No pixel is read."""
    try:
        # A PNG's own method would read them all, for what may stand behind them.
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) >= 5
    except _DAMAGED:
        return False


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # Pillow would copy it
        return ImageOps.exif_transpose(image)
    except _DAMAGED:
        return image  # an EXIF block that cannot be read says nothing about the pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, scaled to 8: Pillow's own conversion would clip all above 255 to white."""
    if image.mode not in ("I", "F"):
        scaled = image.convert("I").point(lambda value: value * (255 / 65535)).convert("L")
        if isinstance(image.info.get("transparency"), int):  # the one grey that is transparent, in 16 bits too
            scaled.info["transparency"] = round(image.info["transparency"] * 255 / 65535)
        return scaled
    if image.mode == "F":
        return _of_floats(image)
    _, highest = map(float, image.getextrema())  # type: ignore[arg-type]  # of one band: two numbers
    scale = 255 / 65535 if highest > 255 else 1.0
    return image.point(lambda value: value * scale).convert("L")


def _of_floats(image: Image.Image) -> Image.Image:
    """Floats as grey: from 0 to 1, from 0 to 255, or else from their extrema. What is no number is as the least."""
    import numpy as np

    values = np.asarray(image, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("none of its pixels is a number")
    lowest, highest = finite.min(), finite.max()
    scale, offset = (255.0 if highest <= 1 else 1.0), 0.0
    if lowest < 0 or highest > 255:
        scale = 255 / ((highest - lowest) or 1.0)
        offset = -lowest * scale
    values = np.where(np.isfinite(values), values, lowest)
    return Image.fromarray((values * scale + offset).clip(0, 255).astype(np.uint8))


def _short(name: object, limit: int = 100) -> str:
    text = repr(name)
    return text if len(text) <= limit else text[: limit - 4] + "...'"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
