"""What is in a picture: objects with a name, a place and a size, drawn at random but never ambiguous.

A scene is the ground truth from which pixels and answers are both derived. It does not know how it is drawn
or what is asked about it. Lengths are fractions of the picture's side, with (0, 0) at its top left corner.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sightline.data.scenes.atlas import TRAIN_ARTISTS, Noun, artists_of, check_name, nouns

__all__ = ["COLOURS", "LAYOUTS", "SHAPES", "SIZES", "Identity", "Scene", "Shape", "Thing", "random_scene"]

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white")
SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart", "cross")
SIZES = ("small", "large")
LAYOUTS = ("single", "scatter", "grid")

CELL = 1 / 3
MOST_SCATTERED = 5
SHAPE_SHARE = 0.35
# Diameters as fractions of a cell; the gap between small and large is what makes the size unambiguous.
SHAPE_DIAMETERS = {"small": (0.36, 0.46), "large": (0.80, 0.92)}
THING_DIAMETERS = (0.76, 0.94)
SINGLE_DIAMETERS = (0.45, 0.92)  # of the whole picture

# What an object is called: ("thing", id) or ("shape", colour, shape).
Identity = tuple[str, ...]


@dataclass(frozen=True)
class Thing:
    """A picture of an everyday object by one artist. `angle` is in degrees, anticlockwise."""

    name: str
    artist: str
    row: int
    col: int
    x: float
    y: float
    diameter: float
    angle: float = 0.0
    flipped: bool = False

    @property
    def identity(self) -> Identity:
        return ("thing", self.name)


@dataclass(frozen=True)
class Shape:
    """A plain coloured shape. `size` is its class, `diameter` its length."""

    colour: str
    shape: str
    size: str
    row: int
    col: int
    x: float
    y: float
    diameter: float
    angle: float = 0.0

    @property
    def identity(self) -> Identity:
        return ("shape", self.colour, self.shape)


@dataclass(frozen=True)
class Scene:
    """Objects in reading order. `look` seeds how it is drawn; `vocabulary` is what else could be in it."""

    layout: str
    objects: tuple[Thing | Shape, ...]
    look: int
    vocabulary: tuple[str, ...]

    def having(self, identity: Identity) -> list[Thing | Shape]:
        """The objects called `identity`."""
        return [item for item in self.objects if item.identity == identity]

    def unique(self) -> list[Thing | Shape]:
        """The objects that their name alone picks out."""
        return [item for item in self.objects if len(self.having(item.identity)) == 1]

    def at(self, row: int, col: int) -> Thing | Shape | None:
        return next((item for item in self.objects if (item.row, item.col) == (row, col)), None)


def random_scene(
    rng: random.Random,
    layout: str = "scatter",
    *,
    things: Sequence[Noun] | None = None,
    artists: Sequence[str] = TRAIN_ARTISTS,
    repeat: float = 0.25,
) -> Scene:
    """A scene that depends on the arguments only.

    `single` is one large object; `scatter` is one to five objects in different cells of a 3 x 3 grid, off
    their cells' centres; `grid` fills all nine cells. `repeat` is the chance that an object takes the name of
    one already there.

    Raises:
        ValueError: for an unknown layout.
    """
    check_name("layout", layout, LAYOUTS)
    things = nouns() if things is None else things
    objects: list[Thing | Shape] = []
    for row, col in _cells(rng, layout):
        identity = _identity(rng, things, [item.identity for item in objects], repeat)
        objects.append(_place(rng, identity, layout, row, col, things, artists))
    return Scene(layout, tuple(objects), rng.getrandbits(32), tuple(noun.id for noun in things))


def _cells(rng: random.Random, layout: str) -> list[tuple[int, int]]:
    if layout == "single":
        return [(1, 1)]
    cells = [(row, col) for row in range(3) for col in range(3)]
    return cells if layout == "grid" else sorted(rng.sample(cells, rng.randint(1, MOST_SCATTERED)))


def _identity(rng: random.Random, things: Sequence[Noun], present: Sequence[Identity], repeat: float) -> Identity:
    if present and rng.random() < repeat:
        return rng.choice(present)
    if rng.random() < SHAPE_SHARE:
        return ("shape", rng.choice(COLOURS), rng.choice(SHAPES))
    return ("thing", rng.choice(things).id)


def _place(
    rng: random.Random,
    identity: Identity,
    layout: str,
    row: int,
    col: int,
    things: Sequence[Noun],
    artists: Sequence[str],
) -> Thing | Shape:
    size = rng.choice(SIZES) if identity[0] == "shape" else None
    if layout == "single":
        diameter, cell, left, top = rng.uniform(*SINGLE_DIAMETERS), 1.0, 0.0, 0.0
        size = size and "large"
    else:
        diameter = CELL * rng.uniform(*(SHAPE_DIAMETERS[size] if size else THING_DIAMETERS))
        cell, left, top = CELL, col * CELL, row * CELL
    slack = (cell - diameter) / 2
    x = left + cell / 2 + rng.uniform(-slack, slack)
    y = top + cell / 2 + rng.uniform(-slack, slack)
    if size:
        return Shape(identity[1], identity[2], size, row, col, x, y, diameter, rng.uniform(-8, 8))
    noun = next(noun for noun in things if noun.id == identity[1])
    artist = rng.choice(artists_of(noun, artists))
    angle = rng.uniform(-15, 15) if rng.random() < 0.6 else 0.0
    return Thing(noun.id, artist, row, col, x, y, diameter, angle, rng.random() < 0.5)
