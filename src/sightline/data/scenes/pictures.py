"""One face for all that a picture can be: a scene of objects, a pair of scenes, a panel of print, digits or bars.

It knows how each is made, drawn, told in words and cut into regions; it does not know what is asked of them.
"""

import random
from collections.abc import Collection

from PIL import Image

from sightline.data.scenes.composing import random_pair, random_scene
from sightline.data.scenes.descriptions import describe_pair, describe_scene
from sightline.data.scenes.language import NOTHING, PLACES, indefinite
from sightline.data.scenes.panels import PANELS, Panel
from sightline.data.scenes.render import posed, render
from sightline.data.scenes.scene import CELL, CELLS, Box, Pair, Scene, Shape, Thing
from sightline.data.scenes.scene import LAYOUTS as SCENE_LAYOUTS
from sightline.data.scenes.stock import Stock

__all__ = ["LAYOUTS", "Picture", "draw", "random_picture", "regions_of", "tell"]

LAYOUTS = (*SCENE_LAYOUTS, *PANELS)
EMPTY_SHARE = 0.3  # how often an empty cell is among the regions

Picture = Scene | Pair | Panel


def random_picture(rng: random.Random, layout: str, stock: Stock, unseen: Collection[str] = ()) -> Picture:
    """A picture of one of LAYOUTS; `unseen` is what of a panel must be new to training (see PANEL_AXES)."""
    if layout in PANELS:
        return PANELS[layout].random(rng, unseen)
    return random_pair(rng, stock) if layout == "pair" else random_scene(rng, layout, stock=stock)


def draw(picture: Picture, size: int) -> list[Image.Image]:
    """One image, or the two of a pair, RGB and `size` pixels a side."""
    if isinstance(picture, Scene | Pair):
        return [render(scene, size) for scene in (picture.scenes if isinstance(picture, Pair) else (picture,))]
    return [picture.draw(size)]


def tell(picture: Picture, rng: random.Random, language: str) -> str:
    """All that can be asked about the picture, in words; ends with a line break."""
    if isinstance(picture, Pair):
        return describe_pair(picture, rng, language)
    return describe_scene(picture, rng, language) if isinstance(picture, Scene) else picture.describe(language) + "\n"


def regions_of(picture: Picture, rng: random.Random, language: str, placed: bool = False) -> list[tuple[Box, str]]:
    """The box and name of every object or part; now and then an empty cell, as "nothing". None of a pair.

    `placed` adds to the name of an object in one of the 3 x 3 cells which cell that is.
    """
    if isinstance(picture, Pair):
        return []
    if not isinstance(picture, Scene):
        return picture.regions(language)
    # Of two objects the small one may be larger than what is called large elsewhere.
    sized = picture.layout in ("scatter", "grid")
    named = [(item.box, _named(item, language, sized, placed and sized)) for item in posed(picture).objects]
    empty = [cell for cell in CELLS if not picture.at(*cell)]
    if sized and empty and rng.random() < EMPTY_SHARE:
        row, col = rng.choice(empty)
        named.append(((col * CELL, row * CELL, (col + 1) * CELL, (row + 1) * CELL), NOTHING[language]))
    return named


def _named(item: Thing | Shape, language: str, sized: bool, placed: bool) -> str:
    name = indefinite(item.identity, language, item.size if sized else "")
    if not placed:
        return name
    place = PLACES[language][item.row][item.col]
    return f"{name} {place}" if language == "en" else f"{place}的{name}"
