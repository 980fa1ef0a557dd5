"""A scene told exactly in words, in any order and several styles: what a language model looks answers up in.

It knows neither pictures nor questions. Nothing true of the scene that a question may ask is left out.
"""

import random

from sightline.data.scenes.language import ORDINALS, PLACES, indefinite, sentence
from sightline.data.scenes.scene import Pair, Scene

__all__ = ["describe_pair", "describe_scene"]

# Fields: {a} the object with its article, {place}.
CLAUSES = {
    "en": ("{a} {place}", "{place}: {a}", "{place} is {a}", "{place} there is {a}", "there is {a} {place}"),
    "zh": ("{place}是{a}", "{place}有{a}", "{place}：{a}", "有{a}在{place}", "{a}在{place}"),
}
OPENINGS = {
    "en": ("", "", "The picture shows this. ", "Here is the picture. ", "This is what is where. "),
    "zh": ("", "", "图中有这些物体。", "下面是图片的内容。", "图片内容如下。"),
}
SINGLES = {
    "en": ("The picture shows {a}.", "There is {a}.", "A picture of {a}.", "It shows one object: {a}."),
    "zh": ("图中是{a}。", "图片里有{a}。", "这里有{a}。", "图中只有一个物体：{a}。"),
}


def describe_scene(scene: Scene, rng: random.Random, language: str) -> str:
    """Every object with its name, size and place, in shuffled order; ends with a line break."""
    if scene.layout == "single":
        return rng.choice(SINGLES[language]).format(a=indefinite(scene.objects[0].identity, language)) + "\n"
    style = rng.choice(CLAUSES[language])
    clauses = [
        style.format(a=indefinite(item.identity, language, item.size), place=PLACES[language][item.row][item.col])
        for item in scene.objects
    ]
    rng.shuffle(clauses)
    return rng.choice(OPENINGS[language]) + _joined(clauses, rng, language) + "\n"


def describe_pair(pair: Pair, rng: random.Random, language: str) -> str:
    """The two pictures, one after the other, each in a line of its own."""
    lines = []
    for ordinal, scene in zip(ORDINALS[language], pair.scenes, strict=True):
        opening = f"The {ordinal} picture. " if language == "en" else f"{ordinal}张图片。"
        lines.append(opening + describe_scene(scene, rng, language))
    return "".join(lines)


def _joined(clauses: list[str], rng: random.Random, language: str) -> str:
    if rng.random() < 0.5:
        return (" " if language == "en" else "").join(sentence(clause, language) for clause in clauses)
    separator = rng.choice(("; ", ", ") if language == "en" else ("；", "，"))
    return sentence(separator.join(clauses), language)
