"""What is in a picture: objects with a name, a place and a size; and two such pictures side by side.

A scene is the ground truth from which pixels and answers are both derived. It does not know how it came about,
how it is drawn or what is asked about it. Lengths are fractions of the picture's side, with (0, 0) at its top
left corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "CELL",
    "CELLS",
    "COLOURS",
    "LAYOUTS",
    "SHAPES",
    "SIZES",
    "Box",
    "Identity",
    "Item",
    "Pair",
    "Place",
    "Scene",
    "Shape",
    "Thing",
    "matches",
    "overlap",
]

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white")
SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart", "cross")
SIZES = ("small", "large")
LAYOUTS = ("single", "two", "scatter", "grid", "pair")

CELL = 1 / 3
CELLS = tuple((row, col) for row in range(3) for col in range(3))

# What an object is called: ("thing", id) or ("shape", colour, shape). An empty colour or shape stands for any.
Identity = tuple[str, ...]
# (row, column) of a cell.
Place = tuple[int, int]
# (x0, y0, x1, y1)
Box = tuple[float, float, float, float]


def matches(identity: Identity, asked: Identity) -> bool:
    """Whether an object called `identity` is one of those asked for.

    >>> matches(("shape", "red", "star"), ("shape", "", "star"))
    True
    """
    return len(identity) == len(asked) and all(want in ("", have) for have, want in zip(identity, asked, strict=True))


@dataclass(frozen=True)
class Thing:
    """A picture of an everyday object by one artist. `angle` is in degrees, anticlockwise.

    `size` is empty where the object is neither small nor large beside the others.
    """

    name: str
    artist: str
    row: int
    col: int
    x: float
    y: float
    diameter: float
    angle: float = 0.0
    flipped: bool = False
    size: str = ""

    @property
    def identity(self) -> Identity:
        return ("thing", self.name)

    @property
    def place(self) -> Place:
        return self.row, self.col

    @property
    def box(self) -> Box:
        return _box(self.x, self.y, self.diameter)


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

    @property
    def place(self) -> Place:
        return self.row, self.col

    @property
    def box(self) -> Box:
        return _box(self.x, self.y, self.diameter)


Item = Thing | Shape


def _box(x: float, y: float, diameter: float) -> Box:
    """The square around a centre, cut at the picture's edges."""
    half = diameter / 2
    return max(0.0, x - half), max(0.0, y - half), min(1.0, x + half), min(1.0, y + half)


def overlap(one: Item, other: Item) -> float:
    """The shared area of two objects' boxes, as a fraction of the smaller box."""
    width, height = ((one.diameter + other.diameter) / 2 - abs(step) for step in (one.x - other.x, one.y - other.y))
    smaller = min(one.diameter, other.diameter)
    return min(max(0.0, width), smaller) * min(max(0.0, height), smaller) / smaller**2


@dataclass(frozen=True)
class Scene:
    """Objects in reading order. `look` seeds how it is drawn; `vocabulary` is what else could be in it."""

    layout: str
    objects: tuple[Item, ...]
    look: int
    vocabulary: tuple[str, ...]

    def called(self, asked: Identity) -> list[Item]:
        """The objects that are called so."""
        return [item for item in self.objects if matches(item.identity, asked)]

    def count(self, asked: Identity) -> int:
        """How many objects are called so."""
        return len(self.called(asked))

    def unique(self) -> list[Item]:
        """The objects that their name alone picks out."""
        names = [item.identity for item in self.objects]
        return [item for item in self.objects if names.count(item.identity) == 1]

    @property
    def shapes(self) -> list[Shape]:
        return [item for item in self.objects if isinstance(item, Shape)]

    def at(self, row: int, col: int) -> Item | None:
        return next((item for item in self.objects if (item.row, item.col) == (row, col)), None)


@dataclass(frozen=True)
class Pair:
    """Two pictures to compare; the second holds what the first does, but for at most one object."""

    first: Scene
    second: Scene
    layout: str = "pair"

    @property
    def scenes(self) -> Sequence[Scene]:
        return self.first, self.second
