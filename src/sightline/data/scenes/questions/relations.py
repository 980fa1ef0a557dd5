"""Questions about where things are: at a place, left or right of, above or below, nearest to each other.

Left and right go by columns and above and below by rows, so that a little jitter never decides an answer.
"""

import math

from sightline.data.scenes.language import PLACES, RELATIONS, definite, sentence
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer
from sightline.data.scenes.scene import CELLS, Item, Scene

__all__ = ["DIRECTIONS", "RELATING", "beside", "related"]

EMPTY_SHARE = 0.1  # how often a place is asked of where nothing is
NOTHING_SHARE = 0.15  # how often a neighbour is asked for where there is none
CLEARLY = 1.2  # how much farther than the nearest the next object must be

# Towards which row and column a direction goes.
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "above": (-1, 0), "below": (1, 0)}

_PLACED = ("two", "scatter", "grid")


def _at_place(scene: Scene, asking: Asking) -> QuestionAnswer:
    row, col = asking.rng.choice(scene.objects).place
    # One of two objects can reach into its neighbours' cells.
    empty = [cell for cell in CELLS if not scene.at(*cell)] if scene.layout != "two" else []
    if empty and asking.axis != "combination" and asking.rng.random() < EMPTY_SHARE:
        row, col = asking.rng.choice(empty)
    return asking.phrase("at_place", place=PLACES[asking.language][row][col]), asking.say(scene.at(row, col))


def _where(scene: Scene, asking: Asking) -> QuestionAnswer:
    unique = scene.unique()
    if not unique:
        return None
    item = asking.rng.choice(unique)
    return asking.phrase("where", item.identity), sentence(asking.place(item), asking.language)


def is_towards(one: Item, other: Item, direction: str) -> bool:
    """Whether `other` is in the direction, seen from `one`."""
    down, right = DIRECTIONS[direction]
    return (other.row - one.row) * down + (other.col - one.col) * right > 0


def related(one: Item, two: Item, asking: Asking) -> tuple[str, bool]:
    """A direction, and whether `one` lies that way of `two`: yes as often as no."""
    directions = [key for key in DIRECTIONS if is_towards(two, one, key) or is_towards(one, two, key)]
    holds = asking.rng.random() < 0.5
    # Objects in one column are neither left nor right of each other, however they are jittered.
    return asking.rng.choice([key for key in directions if is_towards(two, one, key) == holds]), holds


def _relation(scene: Scene, asking: Asking) -> QuestionAnswer:
    unique = scene.unique()
    if len(unique) < 2:
        return None
    one, two = asking.rng.sample(unique, 2)
    direction, holds = related(one, two, asking)
    other, relation = definite(two.identity, asking.language), RELATIONS[asking.language][direction]
    question = asking.phrase("relation", one.identity, relation=relation, other=other)
    return question, asking.yes_no("is", holds)


def beside(scene: Scene, item: Item, direction: str) -> list[Item]:
    """What is left (right, above, below) of an object: in its row (column), or, if that is empty, anywhere.

    One object is an answer, none is "nothing", and more are an ambiguity.
    """
    there = [other for other in scene.objects if is_towards(item, other, direction)]
    along = 0 if direction in ("left", "right") else 1
    return [other for other in there if other.place[along] == item.place[along]] or there


def _beside(scene: Scene, asking: Asking) -> QuestionAnswer:
    answers: list[tuple[Item, str, Item | None]] = [
        (item, direction, found[0] if found else None)
        for item in scene.unique()
        for direction in DIRECTIONS
        if len(found := beside(scene, item, direction)) <= 1
    ]
    wanted = asking.rng.random() >= NOTHING_SHARE
    answers = [answer for answer in answers if (answer[2] is not None) == wanted]
    if not answers:
        return None
    item, direction, other = asking.rng.choice(answers)
    question = asking.phrase("beside", item.identity, relation=RELATIONS[asking.language][direction])
    return question, asking.say(other)


def _nearest(scene: Scene, asking: Asking) -> QuestionAnswer:
    answers = [(item, found) for item in scene.unique() if (found := nearest(scene, item))]
    if not answers:
        return None
    item, found = asking.rng.choice(answers)
    # Where the one is first: from there one place after the other is looked at, as far as the first that is not empty.
    looked_at = sorted((cell for cell in CELLS if cell != item.place), key=lambda cell: math.dist(cell, item.place))
    empty = looked_at[: looked_at.index(found.place)]
    return asking.phrase("nearest", item.identity), asking.is_at(item) + asking.found_at(empty, found)


def nearest(scene: Scene, item: Item) -> Item | None:
    """The object nearest to another, by cells and also by centres, and clearly; None if there is none such."""
    others = [other for other in scene.objects if other is not item]
    if len(others) < 2:
        return None
    by_cells = sorted(others, key=lambda other: math.dist(item.place, other.place))
    by_centres = sorted(others, key=lambda other: math.dist((item.x, item.y), (other.x, other.y)))
    first, second = by_cells[:2]
    if math.dist(item.place, second.place) < CLEARLY * math.dist(item.place, first.place):
        return None
    near, far = (math.dist((item.x, item.y), (other.x, other.y)) for other in by_centres[:2])
    return first if by_centres[0] is first and far >= CLEARLY * near else None


RELATING = {
    "at_place": Kind(_at_place, _PLACED),
    "where": Kind(_where, _PLACED),
    "relation": Kind(_relation, _PLACED),
    "beside": Kind(_beside, _PLACED),
    "nearest": Kind(_nearest, ("scatter", "grid")),
}
