"""Dialogues, in which "it" is what was spoken of last; and questions about what is not there, answered so."""

from collections.abc import Callable

from sightline.data.scenes.categories import CATEGORIES, belongs, members
from sightline.data.scenes.inclusion import takes_in
from sightline.data.scenes.language import RELATIONS, SIZE_WORDS, definite, measure, name, sentence
from sightline.data.scenes.questions.asking import DULL_SHARE, Asking, Kind, QuestionAnswer, Turn, absent
from sightline.data.scenes.questions.attributes import size_words
from sightline.data.scenes.questions.relations import DIRECTIONS, beside, related
from sightline.data.scenes.scene import SHAPES, Item, Scene, Shape

__all__ = ["DIALOGUES"]

MOST_TURNS = 4
# So often that neither "yes" nor "no" is the better guess.
NO_CATEGORY_SHARE = 0.03  # how often something of no category is asked about one
OWN_CATEGORY_SHARE = 0.7  # how often something of a category is asked about its own

# A turn, and the object that "it" is from then on; no turn where it cannot be asked.
Step = tuple[Turn, Item | None] | None


def _dialogue(scene: Scene, asking: Asking) -> list[Turn] | None:
    opening, item, told = _opening(scene, asking)
    turns, wanted = [opening], asking.rng.randint(2, MOST_TURNS)
    it: Item | None = item
    while it is not None and len(turns) < wanted:
        step = None
        for topic in asking.rng.sample([topic for topic in FOLLOWING if topic not in told], len(FOLLOWING) - len(told)):
            if step := FOLLOWING[topic](scene, it, asking):
                break
        if not step:
            break
        turns.append(step[0])
        told = {"where"} & told if step[1] is not it else told | {topic}
        it = step[1]
    return turns if len(turns) > 1 else None


def _opening(scene: Scene, asking: Asking) -> tuple[Turn, Item, set[str]]:
    """A question that brings up an object, and what need not be asked about it any more."""
    if scene.layout == "single":
        (item,) = scene.objects
        return (asking.phrase("name"), asking.say(item)), item, {"where"}
    unique = scene.unique()
    opening = asking.rng.choice(("place", "where", "exists") if unique else ("place",))
    if opening == "place":
        item = asking.rng.choice(scene.objects)
        return (asking.phrase("at_place", place=asking.place(item)), asking.say(item)), item, {"where"}
    item = asking.rng.choice(unique)
    if opening == "where":
        place = sentence(asking.place(item), asking.language)
        return (asking.phrase("where", item.identity), place), item, {"where"}
    return (asking.phrase("exists", item.identity), asking.yes_no("has", True)), item, set()


def _where(scene: Scene, item: Item, asking: Asking) -> Step:
    return (asking.phrase("it/where"), sentence(asking.place(item), asking.language)), item


def _colour(scene: Scene, item: Item, asking: Asking) -> Step:
    if not isinstance(item, Shape):
        return None
    return (asking.phrase("it/colour"), sentence(asking.colour(item.colour), asking.language)), item


def _size(scene: Scene, item: Item, asking: Asking) -> Step:
    if not isinstance(item, Shape) or scene.layout not in ("scatter", "grid"):
        return None
    answer = sentence(SIZE_WORDS[asking.language][item.size], asking.language)
    return (asking.phrase("it/size", None, **size_words(asking)), answer), item


def _beside(scene: Scene, item: Item, asking: Asking) -> Step:
    clear = [(key, found) for key in DIRECTIONS if len(found := beside(scene, item, key)) <= 1]
    # Mostly where something is; "nothing" is an answer, too, but leaves nothing to speak of.
    clear = [row for row in clear if row[1]] or (clear if asking.rng.random() < 0.3 else [])
    if scene.layout == "single" or not clear:
        return None
    direction, found = asking.rng.choice(clear)
    other = found[0] if found else None
    question = asking.phrase("it/beside", relation=RELATIONS[asking.language][direction])
    return (question, asking.say(other)), other


def _relation(scene: Scene, item: Item, asking: Asking) -> Step:
    others = [other for other in scene.unique() if other is not item]
    if not others:
        return None
    other = asking.rng.choice(others)
    direction, holds = related(item, other, asking)
    fields = {"relation": RELATIONS[asking.language][direction], "other": definite(other.identity, asking.language)}
    return (asking.phrase("it/relation", None, **fields), asking.yes_no("is", holds)), item


def _category(scene: Scene, item: Item, asking: Asking) -> Step:
    own = any(belongs(item.identity, key) for key in CATEGORIES)
    if not own and asking.rng.random() >= NO_CATEGORY_SHARE:
        return None
    wanted = own and asking.rng.random() < OWN_CATEGORY_SHARE
    fitting = [key for key in CATEGORIES if belongs(item.identity, key) is wanted]
    if not fitting:
        return None
    # Most things are of a large category, few of a small one, about which "no" would be the better guess again.
    sizes = [len(members(key)) for key in fitting]
    category = asking.rng.choices(fitting, [1 / size for size in sizes] if wanted else sizes)[0]
    if category == "food":
        return (asking.phrase("it/food"), asking.yes_no("can", wanted)), item
    row = CATEGORIES[category]
    return (asking.phrase("it/category", a=row.a, name=row.zh), asking.yes_no("is", wanted)), item


def _count(scene: Scene, item: Item, asking: Asking) -> Step:
    counted = scene.called(item.identity)
    if scene.layout == "single" or (len(counted) == 1 and asking.rng.random() < DULL_SHARE):
        return None
    question = asking.phrase("it/count", measure=measure(item.identity))
    # Of several that were counted, none is "it".
    return (question, asking.tally(scene, counted)), item if len(counted) == 1 else None


FOLLOWING: dict[str, Callable[[Scene, Item, Asking], Step]] = {
    "where": _where,
    "colour": _colour,
    "size": _size,
    "beside": _beside,
    "relation": _relation,
    "category": _category,
    "count": _count,
}


def _unanswerable(scene: Scene, asking: Asking) -> QuestionAnswer:
    """A question that takes for granted something that is not there."""
    kind = asking.rng.choice(("colour", "where", "size", "beside"))
    if kind == "colour":
        present = [item.identity for item in scene.objects]
        missing = [("shape", "", shape) for shape in SHAPES if not scene.count(("shape", "", shape))]
        missing = [shape for shape in missing if not takes_in(shape, present)]
        identity = asking.rng.choice(missing) if missing else absent(scene, asking, "shape")
    else:
        identity = absent(scene, asking, "shape" if kind == "size" else None)
    if not identity:
        return None
    fields = size_words(asking) if kind == "size" else {}
    fields |= {"relation": RELATIONS[asking.language][asking.rng.choice(list(DIRECTIONS))]} if kind == "beside" else {}
    called = name(identity, asking.language)
    answer = f"there is no {called}" if asking.language == "en" else f"没有{called}"
    return asking.phrase(kind, identity, **fields), sentence(answer, asking.language)


DIALOGUES = {
    "dialogue": Kind(_dialogue, ("single", "two", "scatter", "grid"), most=2),
    "unanswerable": Kind(_unanswerable, ("single", "two", "scatter", "grid"), axes=("phrasing",), most=1),
}
