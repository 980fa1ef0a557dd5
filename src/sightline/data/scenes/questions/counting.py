"""Questions of how many: of everything, of a thing, a shape, a colour, a coloured shape, a category.

What is counted among others is numbered in a list of all before its number is given.
"""

from sightline.data.scenes.categories import CATEGORIES, belongs
from sightline.data.scenes.holdout import counts_of
from sightline.data.scenes.inclusion import takes_in
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer, absent
from sightline.data.scenes.scene import COLOURS, SHAPES, Identity, Scene

__all__ = ["COUNTING", "category_counts"]

_PLACED = ("scatter", "grid")
SHAPE_AXES = ("combination", "count", "phrasing")


def _count_all(scene: Scene, asking: Asking) -> QuestionAnswer:
    return asking.phrase("count_all"), str(len(scene.objects))


def _count_thing(scene: Scene, asking: Asking) -> QuestionAnswer:
    return _count_names(scene, asking, "count_thing", "thing")


def _count_both(scene: Scene, asking: Asking) -> QuestionAnswer:
    return _count_names(scene, asking, "count_both", "shape")


def _count_names(scene: Scene, asking: Asking, kind: str, sort: str) -> QuestionAnswer:
    names = [item.identity for item in scene.objects if item.identity[0] == sort]
    if not names:
        return None
    none = absent(scene, asking, sort)
    chosen = asking.balanced({name: names.count(name) for name in names}, [none] if none else [])
    return (asking.phrase(kind, chosen), asking.tally(scene, scene.called(chosen))) if chosen else None


def _count_shape(scene: Scene, asking: Asking) -> QuestionAnswer:
    return _count_part(scene, asking, "count_shape", [("shape", "", shape) for shape in SHAPES])


def _count_colour(scene: Scene, asking: Asking) -> QuestionAnswer:
    return _count_part(scene, asking, "count_colour", [("shape", colour, "") for colour in COLOURS])


def _count_part(scene: Scene, asking: Asking, kind: str, parts: list[Identity]) -> QuestionAnswer:
    if not scene.shapes:
        return None
    present = [item.identity for item in scene.objects]
    counts = counts_of(name for name in present if name[0] == "shape")
    none = [part for part in parts if part not in counts and not takes_in(part, present)]
    chosen = asking.balanced({part: counts[part] for part in parts if part in counts}, none)
    if not chosen:
        return None
    _, colour, _ = chosen
    question = asking.phrase(kind, chosen, colour=asking.colour(colour) if colour else "")
    return question, asking.tally(scene, scene.called(chosen))


def category_counts(scene: Scene) -> dict[str, int]:
    """How many there are of each category of which nothing in the scene is doubtful."""
    counts = {}
    for category in CATEGORIES:
        belonging = [belongs(item.identity, category) for item in scene.objects]
        if None not in belonging:
            counts[category] = sum(map(bool, belonging))
    return counts


def _category_count(scene: Scene, asking: Asking) -> QuestionAnswer:
    counts = category_counts(scene)
    chosen = asking.balanced(
        {("category", category): count for category, count in counts.items() if count},
        [("category", category) for category, count in counts.items() if not count],
    )
    if not chosen:
        return None
    _, category = chosen
    answer = asking.tally(scene, [item for item in scene.objects if belongs(item.identity, category)])
    if category == "food":
        return asking.phrase("category_count/food"), answer
    row = CATEGORIES[category]
    return asking.phrase("category_count", plural=row.plural, name=row.zh, measure=row.zh_measure), answer


COUNTING = {
    "count_all": Kind(_count_all, ("scatter",), axes=("phrasing", "artist"), most=1),
    # Of a thing at the one place where training never sees it there is no second, so no "combination".
    "count_thing": Kind(_count_thing, _PLACED, axes=("count", "phrasing", "artist"), counts=True),
    "count_both": Kind(_count_both, _PLACED, axes=SHAPE_AXES, counts=True),
    "count_shape": Kind(_count_shape, _PLACED, axes=SHAPE_AXES, counts=True),
    "count_colour": Kind(_count_colour, _PLACED, axes=SHAPE_AXES, counts=True),
    "category_count": Kind(_category_count, _PLACED, counts=True),
}
