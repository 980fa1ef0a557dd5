"""Questions about two pictures: whether they show the same, what is new or gone, and which shows what.

What follows from a comparison is said after what is compared.
"""

from collections import Counter

from sightline.data.scenes.language import ORDINALS, enumerated, indefinite, sentence
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer
from sightline.data.scenes.scene import Identity, Pair, Scene

__all__ = ["PAIRS"]

NOTHING_SHARE = 0.15  # how often it is asked what is new where nothing is


def _names(scene: Scene) -> Counter[Identity]:
    return Counter(item.identity for item in scene.objects)


def _same_different(pair: Pair, asking: Asking) -> QuestionAnswer:
    key = "same_different/single" if pair.first.layout == "single" else "same_different"
    return asking.phrase(key), _compared(pair, asking, asking.yes_no("same", _names(pair.first) == _names(pair.second)))


def _added(pair: Pair, asking: Asking) -> QuestionAnswer:
    return _only_in(pair, asking, "added", 1)


def _removed(pair: Pair, asking: Asking) -> QuestionAnswer:
    return _only_in(pair, asking, "removed", 0)


def _only_in(pair: Pair, asking: Asking, key: str, number: int) -> QuestionAnswer:
    one, other = pair.scenes[number], pair.scenes[1 - number]
    new = _names(one) - _names(other)
    if any(name in _names(other) for name in new):
        return None  # a third duck beside two: is "a duck" new?
    if not new and asking.rng.random() >= NOTHING_SHARE:
        return None
    item = next((item for item in one.objects if item.identity in new), None)
    return asking.phrase(key), _compared(pair, asking, asking.say(item))


def _shown(scene: Scene, language: str) -> str:
    """`a duck, a cat and a duck`: every object by its name, in reading order."""
    return enumerated([indefinite(item.identity, language) for item in scene.objects], language)


def _compared(pair: Pair, asking: Asking, result: str) -> str:
    """`The first shows a duck, the second a duck and a cat. A cat.`"""
    one, other = (_shown(scene, asking.language) for scene in pair.scenes)
    if asking.language == "en":
        return f"The first shows {one}, the second {other}. {result}"
    return f"第一张是{one}，第二张是{other}。{result}"


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
    "same_different": Kind(_same_different, ("pair",), most=1),
    "added": Kind(_added, ("pair",), most=1),
    "removed": Kind(_removed, ("pair",), most=1),
    "which_picture": Kind(_which_picture, ("pair",), most=3),
    "in_picture": Kind(_in_picture, ("pair",), most=2),
}
