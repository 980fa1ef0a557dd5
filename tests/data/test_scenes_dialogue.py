"""Dialogues are followed turn by turn: each answer is true of the object that "it" is by then."""

import random
import re
from collections import Counter, defaultdict
from itertools import product

import pytest

from sightline.data.scenes.categories import CATEGORIES
from sightline.data.scenes.composing import random_scene
from sightline.data.scenes.language import LANGUAGES, PLACES, RELATIONS, indefinite, name, sentence
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.questions import Asking, ask
from sightline.data.scenes.questions.dialogue import FOLLOWING
from sightline.data.scenes.scene import CELLS
from sightline.data.scenes.stock import Stock

SCENES = [
    random_scene(random.Random(number), layout)
    for number, layout in product(range(120), ("single", "two", "scatter", "grid"))
]
PLACE_WORDS = {cell: PLACES["en"][cell[0]][cell[1]] for cell in CELLS}


def asks(question, topic, **fields):
    """Whether the question is one of those about a topic of "it"."""
    return question in {phrasing.format(**fields) for phrasing in PHRASINGS[f"it/{topic}"]["en"]}


def towards(item, it, relation):
    """Whether an object is in that direction, seen from "it"."""
    row, col = item.row - it.row, item.col - it.col
    return {"left": col < 0, "right": col > 0, "above": row < 0, "below": row > 0}[relation]


def dialogues(language):
    for number, scene in enumerate(SCENES):
        if turns := ask("dialogue", scene, Asking(random.Random(number), language)):
            yield scene, turns


@pytest.mark.parametrize("language", LANGUAGES)
def test_dialogues_have_two_to_four_turns_and_ask_nothing_twice(language):
    lengths = Counter()
    for _, turns in dialogues(language):
        lengths[len(turns)] += 1
        topics = [re.sub("left|right|above|below|左|右|上|下", "", question) for question, _ in turns]
        assert len(turns) == 2 or len(set(topics)) > 1
    assert set(lengths) == {2, 3, 4}


def first_object(scene, question):
    """What the opening of a dialogue brings up."""
    if scene.layout == "single":
        return scene.objects[0]
    places = [cell for cell, words in PLACE_WORDS.items() if words in question]
    if places:
        return scene.at(*max(places, key=lambda cell: len(PLACE_WORDS[cell])))
    named = [item for item in scene.objects if name(item.identity, "en") in question]
    return max(named, key=lambda item: len(name(item.identity, "en")))


def next_object(scene, it, relation, answer):
    """What is in a direction of "it" and called so: first in its own row or column."""
    there = [item for item in scene.objects if towards(item, it, relation)]
    along = "row" if relation in ("left", "right") else "col"
    there = [item for item in there if getattr(item, along) == getattr(it, along)] or there
    assert [sentence(indefinite(item.identity, "en"), "en") for item in there] == ([answer] if there else [])
    return there[0] if there else None


def numbered(scene, it):
    """`A duck (1), a cat, a duck (2): 2`, of what is called as "it" is."""
    told, count = [], 0
    for item in scene.objects:
        count += item.identity == it.identity
        note = f" ({count})" if item.identity == it.identity else ""
        told.append(indefinite(item.identity, "en") + note)
    told = ", ".join(told)
    return f"{told[0].upper()}{told[1:]}: {count}"


def test_no_category_gives_its_answer_away():
    answers, stock = defaultdict(Counter), Stock()
    for number in range(6000):
        scene = random_scene(random.Random(number), "single", stock=stock)
        if step := FOLLOWING["category"](scene, scene.objects[0], Asking(random.Random(number), "en")):
            (question, answer), _ = step
            category = next((key for key, row in CATEGORIES.items() if question.endswith(f" {row.a}?")), "food")
            answers[category][answer] += 1
    assert set(answers) == set(CATEGORIES)
    for category, counts in answers.items():
        assert 0.25 < counts["Yes."] / counts.total() < 0.8, (category, counts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_said_of_it_after_several_were_counted(language):
    last = Counter()
    for _, turns in dialogues(language):
        for number, (_, answer) in enumerate(turns):
            if re.search(r"[:：][2-9]$", answer.replace(" ", "")):
                last[number == len(turns) - 1] += 1
    assert set(last) == {True}


def test_each_turn_is_true_of_what_it_speaks_of():
    checked = Counter()
    for scene, turns in dialogues("en"):
        it = first_object(scene, turns[0][0])
        for question, answer in turns[1:]:
            relation = next((key for key, words in RELATIONS["en"].items() if words in question), "")
            if asks(question, "where"):
                assert answer == sentence(PLACE_WORDS[it.place], "en")
                checked["where"] += 1
            elif asks(question, "colour"):
                assert answer == f"{it.colour.capitalize()}."
                checked["colour"] += 1
            elif asks(question, "count"):
                assert answer == numbered(scene, it)
                checked["count"] += 1
                checked["several"] += scene.count(it.identity) > 1
            elif relation and asks(question, "beside", relation=RELATIONS["en"][relation]):
                it = next_object(scene, it, relation, answer)
                checked["beside"] += 1
            elif relation:
                # The other object is the last that is named.
                other = max(
                    (item for item in scene.objects if name(item.identity, "en") in question),
                    key=lambda item: len(name(item.identity, "en")),
                )
                assert answer == ("Yes." if towards(it, other, relation) else "No.")
                checked["relation"] += 1
    assert checked["several"] >= checked["count"] / 3, "or one would be the better guess"
    assert min(checked[topic] for topic in ("where", "colour", "count", "beside", "relation")) >= 10
