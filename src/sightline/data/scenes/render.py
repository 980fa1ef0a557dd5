"""From a scene to pixels: anti-aliased, at any size, with a background and small changes of tone.

The changes of tone and pose keep a model from learning one artist's palette. All of them come from the
scene's `look`, so a scene drawn twice is the same picture. This file does not know questions or languages.
"""

import math
import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from sightline.data.scenes.atlas import sprite
from sightline.data.scenes.scene import Scene, Shape, Thing

__all__ = ["PALETTE", "render"]

PALETTE = {
    "red": (220, 40, 40),
    "orange": (245, 135, 20),
    "yellow": (250, 215, 30),
    "green": (45, 160, 70),
    "blue": (40, 95, 220),
    "purple": (130, 55, 175),
    "pink": (245, 140, 190),
    "black": (25, 25, 28),
    "white": (250, 250, 250),
}
COLOUR_JITTER = 10  # of 255, each channel
SUPERSAMPLING = 4


def render(scene: Scene, size: int = 224) -> Image.Image:
    """The scene as an RGB picture of `size` x `size` pixels.

    Raises:
        ValueError: if `size` is smaller than 8 pixels.
    """
    if size < 8:
        raise ValueError(f"a picture needs at least 8 pixels a side, not {size}")
    rng = random.Random(scene.look)
    canvas = _background(rng, scene, size)
    for item in scene.objects:
        if isinstance(item, Shape):
            _draw_shape(canvas, item, rng)
        else:
            _draw_thing(canvas, item, rng)
    return canvas


def _background(rng: random.Random, scene: Scene, size: int) -> Image.Image:
    """Plain, a soft gradient or a low noise, never close to the colour of a shape in the scene."""
    colours = {item.colour for item in scene.objects if isinstance(item, Shape)}
    light, dark = (0.90, 1.0), (0.25, 0.5)
    if "white" in colours:
        light = (0.66, 0.80)
    brightness = rng.uniform(*(dark if rng.random() < 0.12 and "black" not in colours else light))
    # Pale tints: a saturated background could be taken for a shape's colour.
    base = np.array([255 * brightness * rng.uniform(0.93, 1.0) for _ in range(3)])
    style = rng.random()
    if style < 0.4:
        return Image.new("RGB", (size, size), tuple(int(value) for value in base))
    side, spread = (2, 14) if style < 0.75 else (max(2, size // 8), 7)
    noise = np.random.default_rng(rng.getrandbits(32)).uniform(-spread, spread, (side, side, 3))
    tile = np.clip(base + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(tile).resize((size, size), Image.Resampling.BILINEAR)


@lru_cache(maxsize=1024)
def _shape_mask(shape: str, pixels: int) -> Image.Image:
    """An anti-aliased mask, `pixels` a side; its corners leave room for a small turn."""
    side = pixels * SUPERSAMPLING
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    if shape == "circle":
        pen.ellipse((0, 0, side - 1, side - 1), fill=255)
    else:
        pen.polygon([(x * side, y * side) for x, y in _OUTLINES[shape]], fill=255)
    return mask.reduce(SUPERSAMPLING)


def _star() -> list[tuple[float, float]]:
    points = []
    for corner in range(10):
        radius, angle = (0.5, 0.22)[corner % 2], corner * math.pi / 5
        points.append((0.5 + radius * math.sin(angle), 0.52 - radius * math.cos(angle)))
    return points


def _heart() -> list[tuple[float, float]]:
    # The usual parametric heart, scaled into the unit square.
    points = []
    for step in range(64):
        t = step * math.pi / 32
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((0.5 + x / 33, 0.45 - y / 31))
    return points


_OUTLINES = {
    "square": [(0.07, 0.07), (0.93, 0.07), (0.93, 0.93), (0.07, 0.93)],
    "triangle": [(0.5, 0.04), (0.98, 0.92), (0.02, 0.92)],
    "diamond": [(0.5, 0.0), (0.85, 0.5), (0.5, 1.0), (0.15, 0.5)],
    "star": _star(),
    "heart": _heart(),
    "cross": [
        *((0.34, 0.02), (0.66, 0.02), (0.66, 0.34), (0.98, 0.34), (0.98, 0.66), (0.66, 0.66)),
        *((0.66, 0.98), (0.34, 0.98), (0.34, 0.66), (0.02, 0.66), (0.02, 0.34), (0.34, 0.34)),
    ],
}


def _corner(item: Shape | Thing, canvas: Image.Image, drawn: Image.Image) -> tuple[int, int]:
    """Where the drawing goes: around the object's centre, but inside the canvas (turning enlarges it)."""
    left, top = (
        round(item.x * canvas.width - drawn.width / 2),
        round(item.y * canvas.height - drawn.height / 2),
    )
    return max(0, min(left, canvas.width - drawn.width)), max(0, min(top, canvas.height - drawn.height))


def _draw_shape(canvas: Image.Image, item: Shape, rng: random.Random) -> None:
    colour = tuple(
        min(255, max(0, value + rng.randint(-COLOUR_JITTER, COLOUR_JITTER))) for value in PALETTE[item.colour]
    )
    mask = _shape_mask(item.shape, max(2, round(item.diameter * canvas.width)))
    if item.shape != "circle":
        mask = mask.rotate(item.angle, Image.Resampling.BILINEAR, expand=True)
    canvas.paste(colour, _corner(item, canvas, mask), mask)


def _draw_thing(canvas: Image.Image, item: Thing, rng: random.Random) -> None:
    picture = sprite(item.name, item.artist, item.diameter * canvas.width)
    picture = _change_tone(picture, rng)
    if item.flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if item.angle:
        picture = picture.rotate(item.angle, Image.Resampling.BILINEAR, expand=True)
    canvas.paste(picture, _corner(item, canvas, picture), picture)


def _change_tone(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Hue, saturation, contrast and brightness, moved a little; sometimes grey, sometimes few levels."""
    kind = rng.random()
    if kind < 0.25:
        return picture
    saturation = 0.0 if kind > 0.95 else rng.uniform(0.6, 1.35)
    contrast, brightness = rng.uniform(0.8, 1.2), rng.uniform(-22, 22)
    matrix = (contrast * _saturate(saturation) @ _turn_hue(rng.gauss(0, 9))).tolist()
    offset = 128 * (1 - contrast) + brightness
    alpha = picture.getchannel("A")
    toned = picture.convert("RGB").convert("RGB", (*matrix[0], offset, *matrix[1], offset, *matrix[2], offset))
    if 0.91 < kind <= 0.95:
        toned = ImageOps.posterize(toned, 3)
    toned.putalpha(alpha)
    return toned


def _saturate(amount: float) -> np.ndarray:
    luma = np.array([0.299, 0.587, 0.114])
    return amount * np.eye(3) + (1 - amount) * np.tile(luma, (3, 1))


def _turn_hue(degrees: float) -> np.ndarray:
    """A rotation of RGB space around its grey axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)) / math.sqrt(3)
    skew = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return cosine * np.eye(3) + (1 - cosine) / 3 + sine * skew
