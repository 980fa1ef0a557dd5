"""The kinds of question: each a pure function from a scene to a question and its one right answer.

A function returns None when its question would be ambiguous or pointless for the scene: `where` needs an
object that its name picks out. Answers have one form a kind and language, however the question is put, so an
exact match is a fair test. This file does not know pixels.
"""

import random
from collections.abc import Callable

from sightline.data.scenes.atlas import check_name, nouns
from sightline.data.scenes.language import (
    COLOUR_WORDS,
    LANGUAGES,
    PLACES,
    RELATIONS,
    SIZE_WORDS,
    definite,
    indefinite,
    join,
    measure,
    name,
    plural,
    sentence,
)
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.scene import COLOURS, SHAPES, SIZES, Identity, Scene, Shape

__all__ = ["KINDS", "LAYOUTS_OF", "ask"]

YES_NO = {
    "exists": {"en": ("No.", "Yes."), "zh": ("没有。", "有。")},
    "relation": {"en": ("No.", "Yes."), "zh": ("不是。", "是。")},
}
NOTHING = {"en": "Nothing.", "zh": "什么都没有。"}
ABSENT_SHARE = 0.12  # how often a count is zero, or a place empty

QuestionAnswer = tuple[str, str] | None


def ask(kind: str, scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    """One question of a kind about the scene and its answer, or None where the kind does not apply.

    Raises:
        ValueError: for an unknown kind or language.
    """
    check_name("language", language, LANGUAGES)
    return KINDS[check_name("kind", kind, KINDS)](scene, rng, language)


def _phrase(kind: str, rng: random.Random, language: str, identity: Identity | None = None, **fields: str) -> str:
    if identity:
        fields["a"] = indefinite(identity, language)
        fields["the"] = definite(identity, language)
        fields["name"] = name(identity, language)
        fields["plural"] = plural(identity, language)
        fields["measure"] = measure(identity)
    return rng.choice(PHRASINGS[kind][language]).format(**fields)


def _name(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    if len(scene.objects) != 1:
        return None
    answer = sentence(indefinite(scene.objects[0].identity, language), language)
    return _phrase("name", rng, language), answer


def _list(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    if scene.layout != "grid":
        return None
    separator = ", " if language == "en" else "、"
    return _phrase("list", rng, language), separator.join(name(item.identity, language) for item in scene.objects)


def _describe(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    if scene.layout != "scatter":
        return None
    clauses = []
    for item in scene.objects:
        what = indefinite(item.identity, language, item.size if isinstance(item, Shape) else None)
        where = PLACES[language][item.row][item.col]
        clauses.append(f"{what} {where}" if language == "en" else f"{where}是{what}")
    return _phrase("describe", rng, language), sentence(join(clauses, language), language)


def _count_all(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    if scene.layout == "grid":
        return None
    return _phrase("count_all", rng, language), str(len(scene.objects))


def _count_thing(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    present = list(dict.fromkeys(item.identity for item in scene.objects))
    identity = _absent(scene, rng) if rng.random() < ABSENT_SHARE else rng.choice(present)
    if identity[0] == "shape" and rng.random() < 0.5:
        identity = ("shape", "", identity[2])
    count = sum(_matches(item.identity, identity) for item in scene.objects)
    return _phrase("count_thing", rng, language, identity), str(count)


def _matches(identity: Identity, asked: Identity) -> bool:
    """Whether an object is one of those asked for; an empty colour asks for any."""
    return len(identity) == len(asked) and all(want in ("", have) for have, want in zip(identity, asked, strict=True))


def _count_colour(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    present = [item.colour for item in scene.objects if isinstance(item, Shape)]
    if not present:
        return None
    colours = COLOURS if rng.random() < ABSENT_SHARE else sorted(set(present))
    colour = rng.choice(colours)
    return _phrase("count_colour", rng, language, colour=COLOUR_WORDS[language][colour]), str(present.count(colour))


def _at_place(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    if scene.layout == "single":
        return None
    there = rng.choice(scene.objects)
    row, col = there.row, there.col
    if rng.random() < ABSENT_SHARE:
        row, col = rng.randrange(3), rng.randrange(3)
    item = scene.at(row, col)
    answer = sentence(indefinite(item.identity, language), language) if item else NOTHING[language]
    return _phrase("at_place", rng, language, place=PLACES[language][row][col]), answer


def _where(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    unique = scene.unique()
    if scene.layout == "single" or not unique:
        return None
    item = rng.choice(unique)
    answer = sentence(PLACES[language][item.row][item.col], language)
    return _phrase("where", rng, language, item.identity), answer


def _exists(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    present = rng.random() < 0.5
    identity = rng.choice(scene.objects).identity if present else _absent(scene, rng)
    return _phrase("exists", rng, language, identity), YES_NO["exists"][language][present]


def _absent(scene: Scene, rng: random.Random) -> Identity:
    """Something not in the scene, often near to something that is: its category, its colour or its shape."""
    present = {item.identity for item in scene.objects}
    near = rng.choice(sorted(present))
    if near[0] == "shape":
        candidates: list[Identity] = [("shape", near[1], shape) for shape in SHAPES]
        candidates += [("shape", colour, near[2]) for colour in COLOURS]
    else:
        category_of = {noun.id: noun.category for noun in nouns()}
        hard = rng.random() < 0.5
        candidates = [
            ("thing", thing) for thing in scene.vocabulary if not hard or category_of[thing] == category_of[near[1]]
        ]
    candidates = [candidate for candidate in candidates if candidate not in present]
    # A very small vocabulary may be wholly in the picture; the shapes never are.
    candidates = candidates or [
        ("shape", colour, shape) for colour in COLOURS for shape in SHAPES if ("shape", colour, shape) not in present
    ]
    return rng.choice(candidates)


def _colour(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    shapes = [item for item in scene.objects if isinstance(item, Shape)]
    alone = [item for item in shapes if sum(other.shape == item.shape for other in shapes) == 1]
    if not alone:
        return None
    item = rng.choice(alone)
    answer = sentence(COLOUR_WORDS[language][item.colour], language)
    return _phrase("colour", rng, language, ("shape", "", item.shape)), answer


def _size(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    shapes = [item for item in scene.unique() if isinstance(item, Shape)]
    if scene.layout == "single" or not shapes:
        return None
    item, words = rng.choice(shapes), SIZE_WORDS[language]
    first, second = rng.sample(SIZES, 2)
    question = _phrase("size", rng, language, item.identity, first=words[first], second=words[second])
    return question, sentence(words[item.size], language)


def _relation(scene: Scene, rng: random.Random, language: str) -> QuestionAnswer:
    unique = scene.unique()
    if len(unique) < 2:
        return None
    one, two = rng.sample(unique, 2)
    true, false = [], []
    # Objects in one column are neither left nor right of each other, however they are jittered.
    for before, after, here, there in (
        ("left", "right", one.col, two.col),
        ("above", "below", one.row, two.row),
    ):
        if here != there:
            true.append(before if here < there else after)
            false.append(after if here < there else before)
    holds = rng.random() < 0.5
    relation = RELATIONS[language][rng.choice(true if holds else false)]
    other = definite(two.identity, language)
    question = _phrase("relation", rng, language, one.identity, relation=relation, other=other)
    return question, YES_NO["relation"][language][holds]


KINDS: dict[str, Callable[[Scene, random.Random, str], QuestionAnswer]] = {
    "name": _name,
    "list": _list,
    "describe": _describe,
    "count_all": _count_all,
    "count_thing": _count_thing,
    "count_colour": _count_colour,
    "at_place": _at_place,
    "where": _where,
    "exists": _exists,
    "colour": _colour,
    "size": _size,
    "relation": _relation,
}

# Where a kind is asked.
_PLACED = ("scatter", "grid")
LAYOUTS_OF = {
    "name": ("single",),
    "list": ("grid",),
    "describe": ("scatter",),
    "count_all": ("scatter",),
    "count_thing": _PLACED,
    "count_colour": _PLACED,
    "at_place": _PLACED,
    "where": _PLACED,
    "exists": ("single", *_PLACED),
    "colour": ("single", *_PLACED),
    "size": _PLACED,
    "relation": _PLACED,
}
