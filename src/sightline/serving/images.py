"""Pictures of requests: data URIs, uploaded files and, where that is allowed, URLs become `PIL.Image`s in RGB.

Limits are checked on what is there before the next thing is made of it: the encoded length, the bytes, the header's
pixels, what the request's own and others' pictures hold. No path is ever opened here. Where a picture stands in a
request, and what becomes of it, others know.
"""

from __future__ import annotations

import binascii
import functools
import io
import re
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

from sightline.images import to_rgb
from sightline.serving.errors import APIError
from sightline.serving.image_bytes import plain_picture
from sightline.serving.settings import Limits

if TYPE_CHECKING:
    from sightline.serving.security import Identity
    from sightline.serving.state import State

__all__ = [
    "PixelBudget",
    "PixelShare",
    "check_picture",
    "decode_picture",
    "read_data_uri",
    "read_file_image",
    "read_image",
]

_HELD = 5  # pictures of the largest size, as a bound on what all requests together hold
_MARK = "sightline_pixels"  # in a picture's `info`, which Pillow hands on to the copies made of it
# A type and its parameters (RFC 2397). The bytes are looked at, whatever it says.
_DATA_HEAD = re.compile(
    r"data:(?:image/[a-z0-9.+-]{1,64}|application/octet-stream)(?:;[^;,\s]{1,64}){0,4}?;base64,",
    re.IGNORECASE | re.ASCII,
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Mark:
    """Lives as long as a picture or a copy of it."""


class PixelBudget:
    """Bounds the pixels of all decoded pictures that are alive at once: four bytes each, which requests add up.

    Args:
        on_rejected: told why a request was refused.
    """

    def __init__(self, limits: Limits, on_rejected: Callable[[str], None] = lambda reason: None) -> None:
        self.max_pixels, self._on_rejected = _HELD * limits.pixels, on_rejected
        self._lock = threading.Lock()
        self._decoding = 0
        self._alive: list[tuple[weakref.ref[_Mark], int]] = []

    @property
    def held(self) -> int:
        """Pixels of pictures that are being decoded or that someone still holds."""
        return self._decoding + sum(pixels for mark, pixels in self._alive if mark() is not None)

    def share(self) -> PixelShare:
        """What one request holds of it."""
        return PixelShare(self)

    def hold(self, pixels: int, decode: Callable[[], Image.Image]) -> Image.Image:
        """What `decode` gives, counted once until nobody holds it or a copy of it, as the engine does.

        Raises:
            APIError: 429, others hold too many.
        """
        with self._lock:
            self._alive = [one for one in self._alive if one[0]() is not None]
            if self.held + pixels > self.max_pixels:
                self._on_rejected("pixels")
                text = "the pictures of all requests under way are too large together: come again later"
                raise APIError(text, status=429, code="too_many_pixels", retry_after=1)
            self._decoding += pixels
        mark = None
        try:
            picture = decode()
            picture.info[_MARK] = mark = _Mark()
        finally:
            with self._lock:
                self._decoding -= pixels
                self._alive += [] if mark is None else [(weakref.ref(mark), pixels)]
        return picture


class PixelShare:
    """The pixels of one request's pictures, which are bounded by themselves: nobody else's end would make room."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget, self._pixels = budget, 0

    def hold(self, pixels: int, decode: Callable[[], Image.Image], param: str) -> Image.Image:
        """As `PixelBudget.hold`.

        Args:
            param: the field that the picture stands in, for the error.

        Raises:
            APIError: 413, the request's own pictures are too many; or as `PixelBudget.hold`.
        """
        most, together = self._budget.max_pixels, self._pixels + pixels
        if together > most:
            text = f"{param}: with it the request's pictures have {together} pixels, more than the {most} of a request"
            raise APIError(f"{text}: send fewer or smaller ones", status=413, param=param, code="too_many_pixels")
        picture = self._budget.hold(pixels, decode)
        self._pixels = together
        return picture


async def read_image(source: str, state: State, share: PixelShare, param: str) -> Image.Image:
    """The picture that `source`, a data URI or an http(s) URL, is.

    Args:
        share: what the request holds already.
        param: the field that it stands in, for the error.

    Raises:
        APIError: it is neither, cannot be read, or exceeds the limits; its URL is not allowed or gives no picture.
    """
    if source[:5].lower() == "data:":
        work = functools.partial(_from_data_uri, source, state, share, param)
    elif source[:8].lower().startswith(("http://", "https://")):
        data = await state.fetcher.fetch(source, param)
        work = functools.partial(_from_bytes, data, state, share, param)
    else:
        raise APIError(f"{param} has to be a data URI, as data:image/png;base64,...", param=param, code="invalid_image")
    return await state.answering.run(work)


async def read_file_image(file_id: str, state: State, identity: Identity, share: PixelShare, param: str) -> Image.Image:
    """The picture that was uploaded as `file_id`. Raises as `read_image`, and where who asks has no such file (404)."""
    data = state.files.get(identity, file_id, param).data
    return await state.answering.run(functools.partial(_from_bytes, data, state, share, param))


def check_picture(data: bytes, state: State, param: str) -> None:
    """Whether the bytes of a file are a picture that can be asked about. Raises APIError as `read_image`."""
    _from_bytes(data, state, state.pixels.share(), param)


def read_data_uri(uri: str, limits: Limits, param: str) -> bytes:
    """The bytes in a data URI of a picture; its type is not believed.

    Raises:
        APIError: it is no data URI of a picture in base64 (400), or longer than allowed (413).
    """
    head = _DATA_HEAD.match(uri)
    if head is None:
        text = f"{param} has to be a data URI of a picture in base64, as data:image/png;base64,..."
        raise APIError(text, param=param, code="invalid_image")
    length = len(uri) - head.end()
    if length > -(-limits.image_bytes // 3) * 4:
        raise _too_large(limits, param)
    try:
        if length % 4:  # padding may be too long even for the strict mode
            raise ValueError
        data = binascii.a2b_base64(uri[head.end() :], strict_mode=True)
    except ValueError:
        text = f"{param} is not valid base64: it takes A-Z a-z 0-9 + / in fours, the last padded with ="
        raise APIError(text, param=param, code="invalid_base64") from None
    if len(data) > limits.image_bytes:
        raise _too_large(limits, param)
    return data


def decode_picture(data: bytes, limits: Limits, share: PixelShare, processor: Any, param: str) -> Image.Image:
    """The picture in the bytes of a file, in RGB, upright, on white where it is transparent.

    Raises:
        APIError: it is none or damaged, or has too many pixels (400) or too many with the request's others (413), or
            others' pictures take the place (429).
    """

    def refuse(text: str) -> APIError:
        return APIError(f"{param}: the picture cannot be read: {text}", param=param, code="invalid_image")

    try:
        plain = plain_picture(data, limits.pixels)
        image = _open(plain.data, plain.format)
    except ValueError as error:  # in our own words
        raise refuse(str(error)) from None
    width, height = image.size
    if width * height > limits.pixels:
        raise refuse(f"it is {width} x {height}, more than the {limits.pixels} pixels that this server takes")
    if _resized_pixels(image.size, processor) > limits.pixels:
        raise refuse(f"it is {width} x {height}, too long and thin for this model: cut it")

    def decode() -> Image.Image:
        try:
            turn = _TURNS.get(plain.orientation)
            return to_rgb(image if turn is None else image.transpose(turn))
        except MemoryError:
            raise
        except Exception:  # whatever a decoder raises, it is the file's fault
            raise refuse("it is damaged or cut short") from None

    return share.hold(width * height, decode, param)


def _open(data: bytes, format: str) -> Image.Image:
    """The picture, of which nothing but the header is read yet."""
    try:
        return Image.open(io.BytesIO(data), formats=[format])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError("it has more pixels than this server takes") from None
    except MemoryError:
        raise
    except Exception:  # whatever a decoder raises, it is the file's fault
        raise ValueError("it is damaged") from None


def _resized_pixels(size: tuple[int, int], processor: Any) -> int:
    """How many pixels the picture has once it is prepared so that its shorter edge has a given length."""
    wanted = getattr(processor.image_processor, "size", None) or {}
    edge = wanted.get("shortest_edge") if hasattr(wanted, "get") else None
    return 0 if not edge or wanted.get("longest_edge") else edge * edge * max(size) // min(size)


def _from_data_uri(uri: str, state: State, share: PixelShare, param: str) -> Image.Image:
    return _from_bytes(read_data_uri(uri, state.settings.limits, param), state, share, param)


def _from_bytes(data: bytes, state: State, share: PixelShare, param: str) -> Image.Image:
    return decode_picture(data, state.settings.limits, share, state.processor, param)


def _too_large(limits: Limits, param: str) -> APIError:
    text = f"{param}: the picture is larger than the {limits.image_bytes} bytes that this server takes"
    return APIError(text, status=413, param=param, code="image_too_large")
