"""What is behind the objects of a picture: plain, gradient, noise, texture or stripes, in quiet colours.

A background keeps its distance from the colours it is told of, so that nothing drawn in them is lost or doubted.
It does not know scenes or what stands in front of it.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from sightline.data.scenes.colours import RGB, distance, luma

__all__ = ["BACKGROUNDS", "Paper", "background", "choose_paper", "readable_on", "stands_out"]

LEAST_SIZE = 8  # pixels a side
ATTEMPTS = 24
READABLE = 95.0  # in RGB: how far a paper is from the colour of text on it
READABLE_LIGHTNESS = 75.0  # of 255
# Lightness (0 to 1), the most saturation, and how often.
TONES = {"pale": ((0.80, 1.0), 0.18, 0.7), "middle": ((0.52, 0.78), 0.14, 0.15), "dark": ((0.12, 0.42), 0.35, 0.15)}
MOST_SPREAD = 13  # of 255: how far a pattern moves each channel from its paper, either way


@dataclass(frozen=True)
class Paper:
    """Two colours between which a pattern runs, and its style: one of BACKGROUNDS."""

    low: RGB
    high: RGB
    style: str


def choose_paper(rng: random.Random, drawn: Mapping[RGB, float] | None = None) -> Paper:
    """A paper on which the colours `drawn` stand out: each with how far the paper must stay from it, in RGB.

    Where no paper is far from all of them, the best of those tried.
    """
    style = rng.choice(tuple(BACKGROUNDS))
    best, best_margin = None, -math.inf
    for _ in range(ATTEMPTS):
        paper = _random_paper(rng, style)
        margin = min((_apart(paper, colour) - far for colour, far in (drawn or {}).items()), default=0.0)
        if margin > best_margin:
            best, best_margin = paper, margin
        if margin >= 0:
            break
    assert best is not None
    return best


def stands_out(paper: Paper, colour: RGB, far: float) -> bool:
    """Whether the paper is nowhere nearer to the colour than `far`, in RGB."""
    return _apart(paper, colour) >= far


def readable_on(paper: Paper, colour: RGB) -> bool:
    """Whether text in this colour can be read on the paper: lighter or darker, and of another colour."""
    lighter = min(abs(luma(end) - luma(colour)) for end in (paper.low, paper.high))
    return lighter >= READABLE_LIGHTNESS and _apart(paper, colour) >= READABLE


def background(paper: Paper, seed: int, size: int) -> Image.Image:
    """The paper as an RGB picture of `size` x `size` pixels; `seed` places its pattern.

    Raises:
        ValueError: if `size` is smaller than 8 pixels.
    """
    if size < LEAST_SIZE:
        raise ValueError(f"a picture needs at least {LEAST_SIZE} pixels a side, not {size}")
    if paper.style == "plain":
        return Image.new("RGB", (size, size), paper.low)
    pattern = BACKGROUNDS[paper.style](random.Random(seed), size).convert("RGB")
    (red, green, blue), low = ((high - low) / 255 for low, high in zip(paper.low, paper.high, strict=True)), paper.low
    return pattern.convert("RGB", (red, 0, 0, low[0], 0, green, 0, low[1], 0, 0, blue, low[2]))


def _random_paper(rng: random.Random, style: str) -> Paper:
    (darkest, lightest), most_saturation, _ = rng.choices(list(TONES.values()), [tone[2] for tone in TONES.values()])[0]
    lightness, saturation = rng.uniform(darkest, lightest), rng.uniform(0, most_saturation)
    base = [255 * lightness * (1 - saturation * rng.random()) for _ in range(3)]
    spread = [0.0 if style == "plain" else rng.uniform(0.4, 1.0) * MOST_SPREAD for _ in range(3)]
    return Paper(_rgb(base, spread, -1), _rgb(base, spread, 1), style)


def _rgb(base: list[float], spread: list[float], sign: int) -> RGB:
    red, green, blue = (round(min(255, max(0, value + sign * step))) for value, step in zip(base, spread, strict=True))
    return red, green, blue


def _apart(paper: Paper, colour: RGB) -> float:
    return min(distance(end, colour) for end in (paper.low, paper.high))


def _along(rng: random.Random, size: int) -> np.ndarray:
    """How far each pixel is along a random direction, from 0 to 1: [size, size]."""
    angle = rng.uniform(0, 2 * math.pi)
    step = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    reach = abs(math.cos(angle)) + abs(math.sin(angle))
    return (step[None] * math.cos(angle) + step[:, None] * math.sin(angle)) / reach + 0.5


def _gradient(rng: random.Random, size: int) -> Image.Image:
    return Image.fromarray((_along(rng, size) * 255).astype(np.uint8))


def _noise(rng: random.Random, size: int) -> Image.Image:
    """Grain: of one pixel, or of a few."""
    side = max(1, size // rng.choice((1, 2, 3)))
    grain = Image.frombytes("L", (side, side), rng.randbytes(side * side))
    return grain if side == size else grain.resize((size, size), Image.Resampling.BILINEAR)


def _texture(rng: random.Random, size: int) -> Image.Image:
    """Value noise: random grids, each twice as fine and half as strong as the one before (Perlin, 1985)."""
    cells = rng.choice((2, 3, 4, 6))
    field = _smooth_grid(rng, cells, size)
    for octave in range(1, 4):
        field = Image.blend(field, _smooth_grid(rng, cells << octave, size), 0.5**octave)
    return ImageOps.autocontrast(field)


def _smooth_grid(rng: random.Random, cells: int, size: int) -> Image.Image:
    grid = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells))
    return grid.resize((size, size), Image.Resampling.BICUBIC)


def _stripes(rng: random.Random, size: int) -> Image.Image:
    """Parallel bands with sharp or soft edges; sometimes crossed to a check."""
    count, sharpness = rng.randint(3, 14), rng.choice((1.0, 8.0))
    waves = np.sin(_along(rng, size) * (2 * math.pi * count))
    if rng.random() < 0.25:
        waves = waves * np.sin(_along(rng, size) * (2 * math.pi * count))
    return Image.fromarray((np.clip(waves * sharpness, -1, 1) * 127.5 + 127.5).astype(np.uint8))


def _plain(rng: random.Random, size: int) -> Image.Image:
    return Image.new("L", (size, size))


BACKGROUNDS: dict[str, Callable[[random.Random, int], Image.Image]] = {
    "plain": _plain,
    "gradient": _gradient,
    "noise": _noise,
    "texture": _texture,
    "stripes": _stripes,
}
