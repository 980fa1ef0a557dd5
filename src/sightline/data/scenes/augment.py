"""Small changes to a finished picture, as a camera or a file would make: tone, blur and JPEG.

They are mild enough that every answer stays true: no colour takes another's name, nothing becomes unreadable. It
does not know what is in the picture.
"""

import math
import random
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["finish", "saturate", "turn_hue"]

TONE_SHARE, BLUR_SHARE, JPEG_SHARE = 0.5, 0.25, 0.35
MOST_HUE_TURN = 3.5  # degrees: a sixth of what is between orange and yellow, which have their own jitter too
MOST_BLUR = 1.2 / 224  # of the picture's side: how far a pixel is spread, each way
JPEG_QUALITY = (45, 92)


def finish(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The RGB picture with some of the changes, or none, as `rng` has it."""
    if rng.random() < TONE_SHARE:
        picture = picture.convert("RGB", _tone(rng))
    if rng.random() < BLUR_SHARE:
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 1.0) * MOST_BLUR * picture.width))
    if rng.random() < JPEG_SHARE:
        picture = _through_jpeg(picture, rng.randint(*JPEG_QUALITY))
    return picture


def _tone(rng: random.Random) -> tuple[float, ...]:
    """Hue, saturation, contrast and brightness as the twelve numbers of an affine map of RGB."""
    contrast, brightness = rng.uniform(0.88, 1.08), rng.uniform(-10, 10)
    matrix = contrast * saturate(rng.uniform(0.85, 1.12)) @ turn_hue(rng.uniform(-MOST_HUE_TURN, MOST_HUE_TURN))
    offset = 128 * (1 - contrast) + brightness
    return tuple(value for row in matrix.tolist() for value in (*row, offset))


def _through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = BytesIO()
    # Full-resolution colour: halving it would wash out a thin letter's.
    picture.save(file, "JPEG", quality=quality, subsampling=0)
    return Image.open(file).convert("RGB")


def saturate(amount: float) -> np.ndarray:
    """The 3 x 3 map of RGB that multiplies saturation: 0 is grey, 1 changes nothing."""
    weights = np.array([0.299, 0.587, 0.114])
    return amount * np.eye(3) + (1 - amount) * np.tile(weights, (3, 1))


def turn_hue(degrees: float) -> np.ndarray:
    """The 3 x 3 rotation of RGB around its grey axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)) / math.sqrt(3)
    skew = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return cosine * np.eye(3) + (1 - cosine) / 3 + sine * skew
