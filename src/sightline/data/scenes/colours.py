"""The colours that have a name, as RGB triples of 0 to 255, and how far apart two colours look.

It does not know what is painted in them.
"""

import math
import random

__all__ = ["COLOUR_JITTER", "PALETTE", "RGB", "distance", "jittered", "luma"]

RGB = tuple[int, int, int]

PALETTE: dict[str, RGB] = {
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


def jittered(rng: random.Random, colour: RGB) -> RGB:
    """A colour of the same name, a little off."""
    red, green, blue = (min(255, max(0, channel + rng.randint(-COLOUR_JITTER, COLOUR_JITTER))) for channel in colour)
    return red, green, blue


def luma(colour: RGB) -> float:
    """How light a colour looks, 0 to 255 (ITU-R BT.601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def distance(one: RGB, other: RGB) -> float:
    """Euclidean, in RGB: 0 to 442."""
    return math.dist(one, other)
