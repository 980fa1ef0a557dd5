"""From a scene to pixels: anti-aliased, at any size, on a background, with small changes of tone and pose.

The changes keep a model from learning one artist's palette, or one kind of paper. All of them come from the
scene's `look`, so a scene drawn twice is the same picture. This file does not know questions or languages.
"""

import dataclasses
import math
import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from sightline.data.scenes.atlas import sprite
from sightline.data.scenes.augment import finish, saturate, turn_hue
from sightline.data.scenes.backgrounds import background, choose_paper
from sightline.data.scenes.colours import PALETTE, RGB, jittered
from sightline.data.scenes.scene import Scene, Shape, Thing

__all__ = ["PALETTE", "posed", "render"]

SUPERSAMPLING = 4
MOST_TURN = 2.5  # degrees: no object's centre leaves its cell
TURNED_SHARE = 0.5
# How far the paper stays from what is on it, in RGB. A thing is known by more than its average colour.
FAR_FROM_SHAPE, FAR_FROM_THING = 85.0, 45.0


def render(scene: Scene, size: int = 224) -> Image.Image:
    """The scene as an RGB picture of `size` x `size` pixels.

    Raises:
        ValueError: if `size` is smaller than 8 pixels.
    """
    rng = random.Random(scene.look)
    canvas = background(choose_paper(rng, _colours_of(scene)), rng.getrandbits(32), size)
    for item in posed(scene).objects:
        if isinstance(item, Shape):
            _draw_shape(canvas, item, rng)
        else:
            _draw_thing(canvas, item, rng)
    return finish(canvas, rng)


def posed(scene: Scene) -> Scene:
    """The scene as it is drawn: all its objects turned around the picture's centre by a small angle, or none."""
    rng = random.Random(f"pose {scene.look}")
    angle = rng.uniform(-MOST_TURN, MOST_TURN) if rng.random() < TURNED_SHARE else 0.0
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))

    def turned(item: Shape | Thing) -> Shape | Thing:
        right, down = item.x - 0.5, item.y - 0.5
        x, y = 0.5 + cosine * right + sine * down, 0.5 - sine * right + cosine * down
        return dataclasses.replace(item, x=x, y=y, angle=item.angle + angle)

    return dataclasses.replace(scene, objects=tuple(turned(item) for item in scene.objects)) if angle else scene


def _colours_of(scene: Scene) -> dict[RGB, float]:
    """The colours of what is in the scene, and how far from each the paper is to stay."""
    things = (item for item in scene.objects if isinstance(item, Thing))
    colours = {_average_colour(item.name, item.artist): FAR_FROM_THING for item in things}
    shapes = (item for item in scene.objects if isinstance(item, Shape))
    return colours | {PALETTE[item.colour]: FAR_FROM_SHAPE for item in shapes}


@lru_cache(maxsize=2048)
def _average_colour(thing: str, artist: str) -> RGB:
    pixels = np.asarray(sprite(thing, artist, 32), dtype=float)
    red, green, blue = np.average(pixels[..., :3], axis=(0, 1), weights=pixels[..., 3])
    return round(red), round(green), round(blue)


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
    colour = jittered(rng, PALETTE[item.colour])
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
    matrix = (contrast * saturate(saturation) @ turn_hue(rng.gauss(0, 9))).tolist()
    offset = 128 * (1 - contrast) + brightness
    alpha = picture.getchannel("A")
    toned = picture.convert("RGB").convert("RGB", (*matrix[0], offset, *matrix[1], offset, *matrix[2], offset))
    if 0.91 < kind <= 0.95:
        toned = ImageOps.posterize(toned, 3)
    toned.putalpha(alpha)
    return toned
