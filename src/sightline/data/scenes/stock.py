"""What a world's scenes may hold: its things, artists and shapes, less what the axis of the test keeps apart.

It does not know how objects are arranged. On the axis "combination" it offers what training never sees and
nothing else; on every other it offers what training sees.
"""

import random
from collections.abc import Sequence

from sightline.data.scenes.atlas import TRAIN_ARTISTS, Noun, artists_of, noun_of, nouns
from sightline.data.scenes.categories import CATEGORIES, members
from sightline.data.scenes.holdout import is_held_out_count, is_held_out_place, is_held_out_shape
from sightline.data.scenes.scene import CELLS, COLOURS, SHAPES, Identity, Place

__all__ = ["Stock"]

SHAPE_SHARE = 0.35
MOST_PLANTED = 5  # of one name, where a test asks for a count never seen
TRIES = 12  # before a name that is already there is taken after all


class Stock:
    """Draws names at random; the same `rng` state draws the same names."""

    def __init__(
        self, things: Sequence[Noun] | None = None, artists: Sequence[str] = TRAIN_ARTISTS, axis: str = "seen"
    ):
        self.artists, self.axis = tuple(artists), axis
        self.ids = tuple(noun.id for noun in (nouns() if things is None else things))
        unseen = axis == "combination"
        self.shape_share = 0.0 if axis == "artist" else SHAPE_SHARE
        self.shapes: tuple[Identity, ...] = tuple(
            ("shape", colour, shape)
            for colour in COLOURS
            for shape in SHAPES
            if is_held_out_shape(colour, shape) == unseen
        )
        self._things: dict[Place | None, tuple[str, ...]] = {
            cell: tuple(thing for thing in self.ids if is_held_out_place(thing, cell) == unseen) for cell in CELLS
        }
        # A single thing fills the picture and has no place of its own that could be new.
        self._things[None] = () if unseen else self.ids
        present = set(self.ids)
        self.categories = {
            category: found for category in CATEGORIES if len(found := tuple(sorted(members(category) & present))) > 1
        }
        self.unseen_counts = self._unseen_counts() if axis == "count" else ()

    def _unseen_counts(self) -> tuple[tuple[Identity, int], ...]:
        names: list[Identity] = [("thing", thing) for thing in self.ids]
        names += [*self.shapes, *(("shape", "", shape) for shape in SHAPES)]
        names += [("shape", colour, "") for colour in COLOURS]
        counts = range(2, MOST_PLANTED + 1)
        return tuple((name, count) for name in names for count in counts if is_held_out_count(name, count))

    def draw(self, rng: random.Random, place: Place | None, avoid: Sequence[Identity] = ()) -> Identity:
        """A name that may stand at `place` (None: fill the picture), none of `avoid` if that can be helped."""
        for _ in range(TRIES):
            things = self._things[place]
            if not things or rng.random() < self.shape_share:
                name = rng.choice(self.shapes)
            else:
                name = ("thing", rng.choice(things))
            if name not in avoid:
                break
        return name

    def allows(self, name: Identity, place: Place | None) -> bool:
        """Whether the name, drawn for anywhere, may stand at `place`."""
        if name[0] == "shape":
            return True
        if place is None:
            return name[1] in self._things[None]
        return is_held_out_place(name[1], place) == (self.axis == "combination")

    def shape(self, rng: random.Random, asked: Identity) -> Identity:
        """A coloured shape that `asked` stands for."""
        return rng.choice([name for name in self.shapes if asked[1] in ("", name[1]) and asked[2] in ("", name[2])])

    def artist(self, rng: random.Random, thing: str) -> str:
        return rng.choice(artists_of(noun_of(thing), self.artists))
