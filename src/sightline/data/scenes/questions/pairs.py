"""Questions about two pictures: whether they show the same, what is new or gone, and which shows what.

What follows from a comparison is said after what is compared: both pictures, and in the one told last a note behind
each name, whether it is among those told first.
"""

from collections import Counter
from collections.abc import Collection, Mapping

from sightline.data.scenes.language import ORDINALS, enumerated, indefinite, noted, sentence
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer
from sightline.data.scenes.scene import Identity, Pair, Scene

__all__ = ["PAIRS"]

UNNOTED = {False: "", True: ""}
NOTHING_SHARE = 0.15  # how often it is asked what is new where nothing is
# By kind: the order in which the pictures are told, and what is noted of an object of the one told last: whether the
# other shows it. Every name has a note, so that it is decided with the name already said.
TOLD = {"added": (0, 1), "removed": (1, 0)}
NOTES = {
    "added": {"en": {False: "new", True: "both"}, "zh": {False: "新", True: "都有"}},
    "removed": {"en": {False: "gone", True: "both"}, "zh": {False: "没了", True: "都有"}},
}


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
    """`The first shows a duck, the second a cat (new) and a duck (both). A cat.`; `totals`: with how many of all."""
    language = asking.language
    scenes = [pair.scenes[number] for number in TOLD[key]]
    ordinals = [ORDINALS[language][number] for number in TOLD[key]]
    sides = [_shown(scenes[0], language), _shown(scenes[1], language, _names(scenes[0]), NOTES[key][language])]
    if totals:
        colon = ": " if language == "en" else "个："
        sides = [f"{len(scene.objects)}{colon}{side}" for scene, side in zip(scenes, sides, strict=True)]
    if language == "en":
        return f"The {ordinals[0]} shows {sides[0]}, the {ordinals[1]} {sides[1]}. {result}"
    verb = "有" if totals else "是"
    return f"{ordinals[0]}张{verb}{sides[0]}，{ordinals[1]}张{verb}{sides[1]}。{result}"


def _shown(scene: Scene, language: str, known: Collection[Identity] = (), notes: Mapping[bool, str] = UNNOTED) -> str:
    """`a duck (both) and a cat (new)`: every object in reading order; `notes` say whether it is `known`."""
    names = [item.identity for item in scene.objects]
    return enumerated([noted(indefinite(name, language), notes[name in known], language) for name in names], language)


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
