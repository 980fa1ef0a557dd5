"""What is known of a picture once it is opened: a key that equal pixels share, its size, and what it looks like.

Looks are compared by a perceptual hash (Zauner, 2010) of 64 bits, written here rather than taken from `imagehash`,
which would bring scipy and PyWavelets along for a cosine transform of 32 x 32 numbers.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import Image

from sightline.data.conversation import Picture
from sightline.images import formats_of, lies_on_its_side, open_image, to_rgb

__all__ = ["Look", "in_threads", "look_at", "pixels_key", "size_of_picture"]

SIDE = 4  # of the small copy whose colours must agree, too
_GREY, _KEPT = 32, 8  # pixels a side that are transformed, and frequencies a side that are kept

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Look:
    """A picture in RGB: its key, size, perceptual hash, colours as `SIDE` x `SIDE` x 3 bytes, and how far apart the
    least and the greatest value of a channel are, at most."""

    key: bytes
    width: int
    height: int
    hash: int
    colours: bytes
    span: int


def look_at(source: Picture) -> Look:
    """What is known of a picture.

    Raises:
        FileNotFoundError, ValueError: as `open_image`.
    """
    # A picture that lies in a file is asked about in several rows, which mostly follow each other.
    return _look_at_file(source) if isinstance(source, str) else _look(to_rgb(open_image(source)))


@lru_cache(maxsize=256)
def _look_at_file(source: str) -> Look:
    return _look(to_rgb(open_image(source)))


def _look(picture: Image.Image) -> Look:
    colours = picture.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()
    extrema = np.array(picture.getextrema())  # [channels, 2]
    span = int((extrema[:, 1] - extrema[:, 0]).max())
    return Look(pixels_key(picture), *picture.size, _hash(picture), colours, span)


def pixels_key(picture: Image.Image) -> bytes:
    """SHA-256 of a picture's mode, size and pixels: the same whatever its file is called, and however it was packed."""
    digest = hashlib.sha256(f"{picture.mode} {picture.width} {picture.height}\n".encode())
    digest.update(picture.tobytes())
    return digest.digest()


def _hash(picture: Image.Image) -> int:
    """64 bits: which of the lowest frequencies of its grey picture are above their median."""
    grey = np.asarray(picture.convert("L").resize((_GREY, _GREY), Image.Resampling.BOX), dtype=np.float32)
    low = (_cosines() @ grey @ _cosines().T).ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "big")  # the first is the mean brightness


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """The rows of a discrete cosine transform (DCT-II) that are kept, float32 [8, 32]."""
    frequencies, places = np.arange(_KEPT)[:, None], np.arange(_GREY)[None, :]
    return np.cos(np.pi * frequencies * (2 * places + 1) / (2 * _GREY)).astype(np.float32)


def in_threads(function: Callable[[Given], Made], given: Iterable[Given], at_once: int = 32) -> Iterator[Made]:
    """`function` of each, in order, `at_once` of them at a time: decoding leaves the interpreter's lock."""
    left = iter(given)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        while some := list(islice(left, at_once)):
            yield from threads.map(function, some)


def size_of_picture(source: Picture) -> tuple[int, int]:
    """Width and height of a picture turned upright, from its header alone.

    Raises:
        FileNotFoundError, ValueError: there is no file, or it is no picture.
    """
    return _size_of_file(source) if isinstance(source, str) else _size(source)


@lru_cache(maxsize=4096)
def _size_of_file(source: str) -> tuple[int, int]:
    return _size(source)


def _size(source: Picture) -> tuple[int, int]:
    if isinstance(source, str) and source[:5].lower() == "data:":
        return to_rgb(open_image(source)).size
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=formats_of(source)) as picture:
            return (picture.height, picture.width) if lies_on_its_side(picture) else picture.size
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(f"a picture cannot be read: {' '.join(str(error).split())}") from None
