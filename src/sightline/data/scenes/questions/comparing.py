"""Questions that compare: more of which, the larger one, which is of a category, the odd one out."""

from itertools import combinations

from sightline.data.scenes.categories import CATEGORIES, belongs, members
from sightline.data.scenes.holdout import counts_of
from sightline.data.scenes.language import definite, plural, sentence
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer
from sightline.data.scenes.questions.counting import category_counts
from sightline.data.scenes.scene import Identity, Item, Scene

__all__ = ["COMPARING"]

EQUAL_SHARE = 0.15  # how often two of which there are as many are compared
EQUAL = {"en": "The same number.", "zh": "一样多。"}
FEWEST_KIN = 4  # objects among which one may be of another category


def _more(scene: Scene, asking: Asking) -> QuestionAnswer:
    counts = counts_of(item.identity for item in scene.objects)
    equal = asking.rng.random() < EQUAL_SHARE
    pairs = [
        (one, two)
        for one, two in combinations(sorted(counts), 2)
        if _are_alike(one, two) and (counts[one] == counts[two]) == equal
    ]
    if not pairs or (equal and max(counts.values()) == 1):
        return None
    first, second = asking.rng.sample(asking.rng.choice(pairs), 2)
    words = [plural(identity, asking.language) for identity in (first, second)]
    question = asking.phrase("more", first=words[0], second=words[1])
    if equal:
        return question, EQUAL[asking.language]
    more = words[counts[second] > counts[first]]
    return question, f"More {more}." if asking.language == "en" else f"{more}更多。"


def _are_alike(one: Identity, two: Identity) -> bool:
    """Whether two names leave the same open, so that no object bears both."""
    return [part == "" for part in one[1:]] == [part == "" for part in two[1:]] or "" not in (*one, *two)


def _larger(scene: Scene, asking: Asking) -> QuestionAnswer:
    sized = [item for item in scene.unique() if item.size]
    pairs = [(one, two) for one, two in combinations(sized, 2) if one.size != two.size]
    if not pairs:
        return None
    one, two = asking.rng.sample(asking.rng.choice(pairs), 2)
    wanted = asking.rng.choice(("large", "small"))
    first, second = (definite(item.identity, asking.language) for item in (one, two))
    question = asking.phrase("larger" if wanted == "large" else "smaller", first=first, second=second)
    return question, asking.the(one if one.size == wanted else two)


def _category_which(scene: Scene, asking: Asking) -> QuestionAnswer:
    single = [category for category, count in category_counts(scene).items() if count == 1]
    if len(scene.objects) < 2 or not single:
        return None
    category = asking.rng.choice(single)
    item = next(item for item in scene.objects if belongs(item.identity, category))
    if category == "food":
        return asking.phrase("category_which/food"), asking.the(item)
    row = CATEGORIES[category]
    return asking.phrase("category_which", a=row.a, name=row.zh), asking.the(item)


def _odd_one_out(scene: Scene, asking: Asking) -> QuestionAnswer:
    item = odd_one(scene)
    if not item:
        return None
    odd, others = definite(item.identity, asking.language), _called_together(scene, item, asking.language)
    answer = f"all are {others} but {odd}" if asking.language == "en" else f"都是{others}，只有{odd}不是"
    return asking.phrase("odd_one_out"), sentence(answer, asking.language)


def _called_together(scene: Scene, odd: Item, language: str) -> str:
    """What all objects but one are: `ducks`, `animals`."""
    others = [item.identity for item in scene.objects if item is not odd]
    if len(set(others)) == 1:
        return plural(others[0], language)
    fitting = [
        key
        for key in CATEGORIES
        if belongs(odd.identity, key) is False and all(belongs(other, key) for other in others)
    ]
    narrowest = CATEGORIES[min(fitting, key=lambda key: len(members(key)))]  # apples and pears are fruits before food
    return narrowest.plural if language == "en" else narrowest.zh


def odd_one(scene: Scene) -> Item | None:
    """The only object that is not called as all the others are, or not of the category that they are of."""
    names = {item.identity for item in scene.objects}
    unique = scene.unique()
    if len(names) == 2 and len(unique) == 1:
        return unique[0]
    if len(scene.objects) < FEWEST_KIN or len(names) < len(scene.objects):
        return None
    odd = []
    for category, count in category_counts(scene).items():
        if count == len(scene.objects) - 1:
            odd += [item for item in scene.objects if not belongs(item.identity, category)]
    return odd[0] if odd and all(item is odd[0] for item in odd) else None


COMPARING = {
    "more": Kind(_more, ("scatter", "grid")),
    "larger": Kind(_larger, ("two", "scatter", "grid")),
    "category_which": Kind(_category_which, ("two", "scatter", "grid")),
    "odd_one_out": Kind(_odd_one_out, ("scatter", "grid")),
}
