"""Questions about two pictures: whether they show the same, what is new or gone, and which shows what.

What follows from a comparison is said after what is compared: both pictures, and in the one told last a word behind
each name, whether it is among those told first, too.
"""

from collections import Counter
from collections.abc import Collection

from sightline.data.scenes.language import ORDINALS, enumerated, indefinite, sentence
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer
from sightline.data.scenes.scene import Identity, Pair, Scene

__all__ = ["PAIRS"]

NOTHING_SHARE = 0.15  # how often it is asked what is new where nothing is
TOLD = {"added": (0, 1), "removed": (1, 0)}  # by kind: the order in which the pictures are told
# What is said of an object of the picture told last: whether the other shows it. It is said of every object, and in the
# very word after its name, so that a small model has the name at hand where it decides.
ALSO_THERE = {"en": {False: " only", True: " too"}, "zh": {False: "独有", True: "也有"}}


def _names(scene: Scene) -> Counter[Identity]:
    return Counter(item.identity for item in scene.objects)


def _same_different(pair: Pair, asking: Asking) -> QuestionAnswer:
    key = "same_different/single" if pair.first.layout == "single" else "same_different"
    result = asking.yes_no("same", _names(pair.first) == _names(pair.second))
    # How many, too: names alone do not tell three ducks from two.
    return asking.phrase(key), _compared(pair, asking, "added", result, totals=True)


def _added(pair: Pair, asking: Asking) -> QuestionAnswer:
    return _only_in(pair, asking, "added")


def _removed(pair: Pair, asking: Asking) -> QuestionAnswer:
    return _only_in(pair, asking, "removed")


def _only_in(pair: Pair, asking: Asking, key: str) -> QuestionAnswer:
    first, last = (pair.scenes[number] for number in TOLD[key])
    alone = _names(last) - _names(first)
    if any(name in _names(first) for name in alone):
        return None  # a third duck beside two: is "a duck" new?
    if not alone and asking.rng.random() >= NOTHING_SHARE:
        return None
    item = next((item for item in last.objects if item.identity in alone), None)
    return asking.phrase(key), _compared(pair, asking, key, asking.say(item))


def _compared(pair: Pair, asking: Asking, key: str, result: str, totals: bool = False) -> str:
    """`The first shows a duck, the second a cat only and a duck too. A cat.`; `totals`: with how many of all."""
    language = asking.language
    scenes = [pair.scenes[number] for number in TOLD[key]]
    ordinals = [ORDINALS[language][number] for number in TOLD[key]]
    sides = [_shown(scenes[0], language), _shown(scenes[1], language, _names(scenes[0]))]
    if totals:
        count = "{}: " if language == "en" else "{}个，"
        sides = [f"{count.format(len(scene.objects))}{side}" for scene, side in zip(scenes, sides, strict=True)]
    if language == "en":
        return f"The {ordinals[0]} shows {sides[0]}, the {ordinals[1]} {sides[1]}. {result}"
    return f"{ordinals[0]}张：{sides[0]}，{ordinals[1]}张：{sides[1]}。{result}"


def _shown(scene: Scene, language: str, known: Collection[Identity] | None = None) -> str:
    """`a duck and a cat`: every object in reading order; `a duck too and a cat only`, where a duck is `known`."""
    names = [item.identity for item in scene.objects]
    told = [indefinite(name, language) for name in names]
    if known is not None:
        told = [text + ALSO_THERE[language][name in known] for text, name in zip(told, names, strict=True)]
    return enumerated(told, language)


def _which_picture(pair: Pair, asking: Asking) -> QuestionAnswer:
    first, second = _names(pair.first), _names(pair.second)
    sides = [sorted(set(one) - set(other)) for one, other in ((first, second), (second, first))]
    number = asking.rng.randrange(2)
    if not sides[number]:
        return None
    answer = f"the {ORDINALS['en'][number]}" if asking.language == "en" else f"{ORDINALS['zh'][number]}张"
    return asking.phrase("which_picture", asking.rng.choice(sides[number])), sentence(answer, asking.language)


def _in_picture(pair: Pair, asking: Asking) -> QuestionAnswer:
    number = asking.rng.randrange(2)
    question = asking.phrase("in_picture", ordinal=ORDINALS[asking.language][number])
    return question, sentence(_shown(pair.scenes[number], asking.language), asking.language)


PAIRS = {
    "same_different": Kind(_same_different, ("pair",), most=3),
    "added": Kind(_added, ("pair",), most=3),
    "removed": Kind(_removed, ("pair",), most=3),
    "which_picture": Kind(_which_picture, ("pair",), most=3),
    "in_picture": Kind(_in_picture, ("pair",), most=2),
}
