"""From names in cells to objects with a position, a size and a pose; near neighbours may overlap a little.

A centre never leaves the middle of its cell, so that every place and relation is beyond doubt, and no two boxes
share more than a tenth of the smaller one. This file does not know why a name stands where it does.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from sightline.data.scenes.scene import CELL, SIZES, Identity, Item, Place, Shape, Thing, overlap
from sightline.data.scenes.stock import Stock

__all__ = ["MOST_OVERLAP", "arrange"]

# Diameters as fractions of a cell; the gap between small and large is what makes the size unambiguous.
SHAPE_DIAMETERS = {"small": (0.36, 0.46), "large": (0.80, 0.92)}
THING_DIAMETERS = (0.76, 0.94)
# Of the whole picture.
SINGLE_DIAMETERS = (0.45, 0.92)
TWO_DIAMETERS = {"small": (0.17, 0.25), "large": (0.40, 0.48)}

MOST_ASIDE = 0.22  # of a cell: how far an object that pokes over its cell's edge may be off its centre
POKE_SHARE = 0.4
MOST_OVERLAP = 0.1  # of the smaller box; turned and rounded to pixels it stays below 0.15


def arrange(
    rng: random.Random,
    layout: str,
    named: Sequence[tuple[Identity, Place]],
    stock: Stock,
    sizes: Sequence[str] | None = None,
) -> tuple[Item, ...]:
    """An object for every name, in its cell; `sizes` are drawn at random where they are not given."""
    if sizes is None:
        sizes = rng.sample(SIZES, 2) if layout == "two" else [rng.choice(SIZES) for _ in named]
    items = [_placed(rng, layout, name, place, size, stock) for (name, place), size in zip(named, sizes, strict=True)]
    if layout in ("scatter", "grid"):
        _poke(rng, items)
    return tuple(items)


def _placed(rng: random.Random, layout: str, name: Identity, place: Place, size: str, stock: Stock) -> Item:
    row, col = place
    size = "large" if layout == "single" else size
    diameter = _diameter(rng, layout, name, size)
    if layout == "single":
        x, y = (0.5 + rng.uniform(-1, 1) * (1 - diameter) / 2 for _ in range(2))
    elif layout == "two":
        x, y = (_half(rng, index, diameter) for index in (col, row))
    else:
        slack = (CELL - diameter) / 2
        x, y = ((index + 0.5) * CELL + rng.uniform(-slack, slack) for index in (col, row))
    if name[0] == "shape":
        return Shape(name[1], name[2], size, row, col, x, y, diameter, rng.uniform(-8, 8))
    angle = rng.uniform(-15, 15) if rng.random() < 0.6 else 0.0
    artist, flipped = stock.artist(rng, name[1]), rng.random() < 0.5
    return Thing(name[1], artist, row, col, x, y, diameter, angle, flipped, size if layout == "two" else "")


def _diameter(rng: random.Random, layout: str, name: Identity, size: str) -> float:
    if layout == "single":
        return rng.uniform(*SINGLE_DIAMETERS)
    if layout == "two":
        return rng.uniform(*TWO_DIAMETERS[size])
    return CELL * rng.uniform(*(SHAPE_DIAMETERS[size] if name[0] == "shape" else THING_DIAMETERS))


def _half(rng: random.Random, index: int, diameter: float) -> float:
    """A coordinate in the first half (0), the second (2), or about the middle of both (1)."""
    if index == 1:
        return 0.5 + rng.uniform(-0.1, 0.1)
    slack = min((0.5 - diameter) / 2, 0.08)
    return 0.25 + 0.25 * index + rng.uniform(-slack, slack)


def _poke(rng: random.Random, items: list[Item]) -> None:
    """Move some of the objects further off, over their cells' edges, where nothing is in the way."""
    for number, item in enumerate(items):
        if rng.random() < POKE_SHARE:
            half = item.diameter / 2
            x, y = (
                min(1 - half, max(half, (index + 0.5 + rng.uniform(-MOST_ASIDE, MOST_ASIDE)) * CELL))
                for index in (item.col, item.row)
            )
            moved = replace(item, x=x, y=y)
            if all(overlap(moved, other) <= MOST_OVERLAP for other in items if other is not item):
                items[number] = moved
