"""How scenes come about: names by a pattern, put into cells where they may stand; and pairs of scenes that differ.

This file decides what stands where; it does not know pixels or questions.
"""

import random
from collections.abc import Sequence

from sightline.data.scenes.atlas import check_name
from sightline.data.scenes.holdout import counts_of, is_held_out_count
from sightline.data.scenes.inclusion import are_distinct
from sightline.data.scenes.patterns import PATTERNS, random_pattern
from sightline.data.scenes.placing import arrange
from sightline.data.scenes.scene import CELLS, LAYOUTS, Identity, Item, Pair, Place, Scene
from sightline.data.scenes.stock import Stock

__all__ = ["MOST_SCATTERED", "random_pair", "random_scene"]

SCENE_LAYOUTS = tuple(layout for layout in LAYOUTS if layout != "pair")
MOST_SCATTERED = 5
ATTEMPTS = 200  # scenes with a held-out count, or a name that takes in another, before the stock is blamed
SINGLE_PAIRS = 0.3  # share of the pairs that are two large objects
CHANGES = {"none": 0.46, "added": 0.18, "removed": 0.16, "replaced": 0.2}


def random_scene(
    rng: random.Random, layout: str = "scatter", *, stock: Stock | None = None, pattern: str | None = None
) -> Scene:
    """A scene that depends on the arguments only.

    `single` is one large object; `two` a small and a large one, beside or above each other; `scatter` one to five
    objects in different cells of a 3 x 3 grid, off their cells' centres; `grid` fills all nine. `pattern` is how
    names repeat, one of PATTERNS (None: at random).

    Raises:
        ValueError: for an unknown layout or pattern.
    """
    check_name("layout", layout, SCENE_LAYOUTS)
    check_name("pattern", pattern or "mixed", PATTERNS)
    stock = stock or Stock()
    for _ in range(ATTEMPTS):
        cells = _cells(rng, layout)
        names = _names(rng, layout, cells, stock, pattern)
        if _is_allowed(names, stock):
            break
    else:
        raise ValueError(
            f"no {layout} scene of these {len(stock.ids)} things is without a held-out count, or a name that takes in "
            "another: allow more"
        )
    return _scene(rng, layout, arrange(rng, layout, list(zip(names, cells, strict=True)), stock), stock)


def random_pair(rng: random.Random, stock: Stock | None = None) -> Pair:
    """Two pictures: in the second nothing, or one object, is other than in the first, and all may be rearranged."""
    stock = stock or Stock()
    first = random_scene(rng, "single" if rng.random() < SINGLE_PAIRS else "scatter", stock=stock)
    before = [item.identity for item in first.objects]
    for _ in range(ATTEMPTS):
        named = _changed(rng, first, stock)
        names = [name for name, _, _ in named]
        if _is_allowed(names, stock) and are_distinct([*before, *names]):
            break
    else:
        named = [(item.identity, item.place, item.size or "large") for item in first.objects]
    named.sort(key=lambda row: row[1])
    items = arrange(rng, first.layout, [row[:2] for row in named], stock, [row[2] for row in named])
    return Pair(first, _scene(rng, first.layout, items, stock))


def _scene(rng: random.Random, layout: str, objects: tuple[Item, ...], stock: Stock) -> Scene:
    return Scene(layout, objects, rng.getrandbits(32), stock.ids)


def _is_allowed(names: Sequence[Identity], stock: Stock) -> bool:
    """Whether each has a name of its own, and training may see so many; a test of unseen counts wants the others."""
    if not are_distinct(names):
        return False
    return stock.axis == "count" or not any(is_held_out_count(*pair) for pair in counts_of(names).items())


def _cells(rng: random.Random, layout: str) -> list[Place]:
    if layout == "single":
        return [(1, 1)]
    if layout == "two":
        return [(1, 0), (1, 2)] if rng.random() < 0.6 else [(0, 1), (2, 1)]
    return list(CELLS) if layout == "grid" else sorted(rng.sample(CELLS, rng.randint(1, MOST_SCATTERED)))


def _names(
    rng: random.Random, layout: str, cells: Sequence[Place], stock: Stock, pattern: str | None
) -> list[Identity]:
    """A name for each cell: the pattern's where they may stand, others where not."""
    if layout == "single":
        return [stock.draw(rng, None)]
    pattern = pattern or ("mixed" if layout == "two" else random_pattern(rng, len(cells), stock))
    planned = PATTERNS[pattern](rng, len(cells), stock)
    free = rng.sample(range(len(cells)), len(cells))
    taken: dict[int, Identity] = {}
    for name in planned:
        if (spot := next((spot for spot in free if stock.allows(name, cells[spot])), None)) is not None:
            free.remove(spot)
            taken[spot] = name
    for spot in free:
        taken[spot] = stock.draw(rng, cells[spot], avoid=[*planned, *taken.values()])
    return [taken[spot] for spot in range(len(cells))]


def _changed(rng: random.Random, scene: Scene, stock: Stock) -> list[tuple[Identity, Place, str]]:
    """Name, cell and size of the second picture's objects."""
    named = [(item.identity, item.place, item.size or "large") for item in scene.objects]
    change = rng.choices(list(CHANGES), list(CHANGES.values()))[0]
    if scene.layout == "single":
        return named if change == "none" else [(stock.draw(rng, None, [named[0][0]]), (1, 1), "large")]
    if change in ("removed", "replaced") and len(named) > 1:
        named.pop(rng.randrange(len(named)))
    if change in ("added", "replaced"):
        cell = rng.choice([cell for cell in CELLS if cell not in [place for _, place, _ in named]])
        name = stock.draw(rng, cell, [item.identity for item in scene.objects])
        named.append((name, cell, rng.choice(("small", "large"))))
    return _shuffled(rng, named, stock) if rng.random() < 0.5 else named


def _shuffled(
    rng: random.Random, named: list[tuple[Identity, Place, str]], stock: Stock
) -> list[tuple[Identity, Place, str]]:
    """The same objects in other cells, where they may stand there."""
    cells = rng.sample(CELLS, len(named))
    moved = [(name, cell, size) for (name, _, size), cell in zip(named, cells, strict=True)]
    return moved if all(stock.allows(name, cell) for name, cell, _ in moved) else named
