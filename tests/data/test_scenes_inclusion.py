"""Who is shown a top hat is not told that there is no hat, and nothing has two names to be counted by."""

import random
import re
from functools import cache

import pytest

from sightline.data.sample import answers_of, questions_of
from sightline.data.scenes.atlas import choose_nouns, noun_of, nouns
from sightline.data.scenes.composing import random_pair, random_scene
from sightline.data.scenes.inclusion import NARROWER
from sightline.data.scenes.language import LANGUAGES, name, plural
from sightline.data.scenes.questions import Asking, ask
from sightline.data.scenes.scene import SHAPES
from sightline.data.scenes.stock import Stock
from sightline.data.scenes.world import World

# By hand, so that a name that falls out of the table is missed.
PAIRS = """
hat top-hat, tree palm-tree, tree christmas-tree, telephone mobile-phone, shoe high-heel, cup beer-mug, cup wine-glass,
football soccer-ball, bear panda, fish shark, candy lollipop, plane helicopter, diamond gem, cup trophy
"""
WIDE = [tuple(pair.split()) for pair in PAIRS.split(",")]
THINGS = sorted({one for pair in WIDE for one in pair} - {"diamond"})
STOCK = Stock(choose_nouns(THINGS, ("noto",)), ("noto",))
LAYOUTS = ("single", "two", "scatter", "grid")


def calls(scene):
    return {item.identity[-1] for item in scene.objects}


def both(called):
    return [pair for pair in WIDE if set(pair) <= called]


def test_the_table_names_things_and_outlines_that_there_are():
    ids = {noun.id for noun in nouns()}
    assert set(NARROWER) <= ids | set(SHAPES)
    assert set().union(*NARROWER.values()) <= ids


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_scene_shows_a_thing_beside_one_that_takes_it_in(layout):
    for number in range(150):
        assert not both(calls(random_scene(random.Random(number), layout, stock=STOCK)))


def test_no_pair_of_pictures_does_either():
    for number in range(150):
        pair = random_pair(random.Random(number), STOCK)
        assert not both(calls(pair.first) | calls(pair.second))


@cache
def scattered(count):
    return [random_scene(random.Random(number), "scatter", stock=STOCK) for number in range(count)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["exists", "count_thing", "count_both", "count_shape", "unanswerable"])
def test_what_is_there_in_a_wider_sense_is_not_said_to_be_absent(kind, language):
    denied = 0
    for number, scene in enumerate(scattered(800)):
        turns = ask(kind, scene, Asking(random.Random(number), language))
        if not turns:
            continue
        said = re.split("[:：] ?", turns[0][1])[-1]
        if said not in ("No.", "没有。", "0") and kind != "unanswerable":
            continue
        denied += 1
        question = turns[0][0]
        for wide, narrow in WIDE:
            if narrow in calls(scene):
                assert wide not in asked_for(question, language), (question, narrow)
    assert denied > 30


def asked_for(question, language):
    """The ids and outlines of the longest names in the question: a top hat is not also a hat."""
    named = {("thing", thing): thing for thing in THINGS} | {("shape", "", shape): shape for shape in SHAPES}
    words = {form(identity, language): called for identity, called in named.items() for form in (name, plural)}
    found = [word for word in words if re.search(rf"(?<![a-zA-Z]){re.escape(word)}(?![a-zA-Z])", question, re.ASCII)]
    return {words[word] for word in found if not any(word != other and word in other for other in found)}


def test_names_of_two_languages_are_looked_up_whole():
    assert asked_for("Is there a top hat?", "en") == {"top-hat"}
    assert asked_for("Is there a red diamond?", "en") == {"diamond"}
    assert asked_for(f"有{noun_of('hat').zh}吗？", "zh") == {"hat"}


def test_a_world_of_a_thing_and_what_takes_it_in_shows_them_apart():
    world = World(things=["hat", "top-hat"], languages=("en",), image_size=8, grid_share=1.0)
    seen = set()
    for index in range(40):
        (told,) = {answers_of(world.sample(index, kinds=["list"], layout="grid"))[0]}
        listed = set(told.lower().removesuffix(".").split(", "))
        assert not {"a hat", "a top hat"} <= listed
        seen |= listed
    assert {"a hat", "a top hat"} <= seen
    assert questions_of(world.sample(0))
