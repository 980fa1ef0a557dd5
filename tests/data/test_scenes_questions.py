"""The answers are true: each is worked out again from the scene, by other means than the generator's."""

import random
import re
from collections import Counter
from itertools import permutations, product

import pytest

from sightline.data.scenes.language import COLOUR_WORDS, PLACES, RELATIONS, indefinite, name, plural
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.questions import KINDS, LAYOUTS_OF, YES_NO, ask
from sightline.data.scenes.scene import COLOURS, SHAPES, Shape, random_scene

SCENES = [
    random_scene(random.Random(index), layout, repeat=(0.0, 0.5)[index % 2])
    for index, layout in product(range(60), ("single", "scatter", "grid"))
]
CELLS = list(product(range(3), range(3)))


def asked(kind, language):
    """Scene, question and answer, wherever the kind applies."""
    for number, scene in enumerate(SCENES):
        if scene.layout in LAYOUTS_OF[kind]:
            turn = ask(kind, scene, random.Random(number), language)
            if turn:
                yield scene, *turn


def mentioned(question, words):
    """The longest of `words` (values) that the question contains as a whole, by key."""
    found = [
        (len(word), key)
        for key, word in words.items()
        if re.search(rf"(?<![a-zA-Z]){re.escape(word)}(?![a-zA-Z])", question)
    ]
    return max(found)[1]


def identities(scene):
    shapes = [("shape", colour, shape) for colour in COLOURS for shape in SHAPES]
    return [("thing", thing) for thing in scene.vocabulary] + shapes


def relation_questions(one, other, relation, language):
    """Every way to ask whether `one` is in a relation to `other`."""
    article = "the " if language == "en" else ""
    first, second = (article + name(item.identity, language) for item in (one, other))
    words = {"the": first, "name": first, "other": second, "relation": RELATIONS[language][relation]}
    return {phrasing.format(**words) for phrasing in PHRASINGS["relation"][language]}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_counts_match_a_recount(language):
    for scene, question, answer in asked("count_thing", language):
        names = {identity: plural(identity, language) for identity in identities(scene)}
        names |= {("shape", "", shape): plural(("shape", "", shape), language) for shape in SHAPES}
        wanted = (
            mentioned(question, names)
            if language == "en"
            else max((len(word), key) for key, word in names.items() if word in question)[1]
        )
        if wanted[:2] == ("shape", ""):
            count = sum(isinstance(item, Shape) and item.shape == wanted[2] for item in scene.objects)
        else:
            count = Counter(item.identity for item in scene.objects)[wanted]
        assert answer == str(count), question
    for scene, question, answer in asked("count_colour", language):
        colour = next(key for key, word in COLOUR_WORDS[language].items() if word in question)
        assert answer == str(sum(getattr(item, "colour", None) == colour for item in scene.objects))
    for scene, _, answer in asked("count_all", language):
        assert answer == str(len(scene.objects))


def test_counts_include_zero_and_many():
    counts = Counter(answer for _, _, answer in asked("count_thing", "en"))
    assert counts["0"]
    assert any(int(count) >= 4 for count in counts)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_object_asked_for_by_name_is_the_only_one_so_called(language):
    for kind in ("where", "size", "relation"):
        for scene, question, _ in asked(kind, language):
            present = {item.identity: name(item.identity, language) for item in scene.objects}
            whole = max((word for word in present.values() if word in question), key=len)
            assert [name(item.identity, language) for item in scene.objects].count(whole) == 1, question


@pytest.mark.parametrize("language", ["en", "zh"])
def test_where_and_at_place_agree_with_the_cells(language):
    for scene, question, answer in asked("where", language):
        place = {PLACES[language][row][col]: (row, col) for row, col in CELLS}
        spoken = answer.rstrip("。.")
        cell = place[spoken[0].lower() + spoken[1:]]
        item = next(item for item in scene.objects if (item.row, item.col) == cell)
        assert name(item.identity, language) in question
    for scene, question, answer in asked("at_place", language):
        places = {(row, col): PLACES[language][row][col] for row, col in CELLS}
        row, col = max((len(word), cell) for cell, word in places.items() if word in question)[1]
        here = [indefinite(item.identity, language) for item in scene.objects if (item.row, item.col) == (row, col)]
        assert answer.lower().rstrip("。.") == (
            here[0].lower() if here else {"en": "nothing", "zh": "什么都没有"}[language]
        )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_relations_hold_between_the_objects_centres(language):
    for scene, question, answer in asked("relation", language):
        readings = [
            (one, other, relation)
            for one, other in permutations(scene.objects, 2)
            for relation in RELATIONS[language]
            if question in relation_questions(one, other, relation, language)
        ]
        assert len(readings) == 1, question
        one, other, relation = readings[0]
        holds = {
            "left": one.x < other.x,
            "right": one.x > other.x,
            "above": one.y < other.y,
            "below": one.y > other.y,
        }
        assert answer == YES_NO["relation"][language][holds[relation]], question


@pytest.mark.parametrize("language", ["en", "zh"])
def test_exists_says_yes_exactly_for_what_is_there(language):
    for scene, question, answer in asked("exists", language):
        names = {identity: name(identity, language) for identity in identities(scene)}
        if language == "en":
            wanted = mentioned(question, names)
        else:
            wanted = max((len(word), key) for key, word in names.items() if word in question)[1]
        present = any(item.identity == wanted for item in scene.objects)
        assert answer == YES_NO["exists"][language][present], question


def test_colour_and_size_are_those_of_the_shape():
    for scene, question, answer in asked("colour", "en"):
        shape = next(shape for shape in SHAPES if shape in question)
        matching = [item for item in scene.objects if isinstance(item, Shape) and item.shape == shape]
        assert [item.colour.capitalize() + "." for item in matching] == [answer]
    for scene, question, answer in asked("size", "en"):
        shapes = [item for item in scene.objects if isinstance(item, Shape)]
        (item,) = [item for item in shapes if name(item.identity, "en") in question]
        assert answer == item.size.capitalize() + "."


def test_list_and_describe_name_everything_in_reading_order():
    for scene, _, answer in asked("list", "en"):
        assert answer.split(", ") == [name(item.identity, "en") for item in scene.objects]
    for scene, _, answer in asked("describe", "zh"):
        assert len(answer.split("，")) == len(scene.objects)
    for scene, _, answer in asked("describe", "en"):
        clauses = re.split(r", (?=a)| and (?=an? )", answer)
        assert len(clauses) == len(scene.objects), answer
    for scene in SCENES:
        cells = [(item.row, item.col) for item in scene.objects]
        assert cells == sorted(set(cells))


def test_placed_objects_stay_in_their_cells():
    for scene in SCENES:
        for item in scene.objects:
            if scene.layout != "single":
                assert (int(item.y * 3), int(item.x * 3)) == (item.row, item.col)


def test_every_kind_has_three_to_five_phrasings_and_a_layout():
    assert set(PHRASINGS) == set(KINDS) == set(LAYOUTS_OF)
    for languages in PHRASINGS.values():
        assert all(3 <= len(languages[language]) <= 5 for language in ("en", "zh"))
