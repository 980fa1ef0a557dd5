"""What a test axis holds out, training never shows or says; and each axis asks about nothing else."""

import random
import re
from collections import Counter
from itertools import product

import pytest

from sightline.data.sample import questions_of
from sightline.data.scenes import HELD_OUT_ARTIST, World
from sightline.data.scenes.atlas import nouns
from sightline.data.scenes.composing import random_pair, random_scene
from sightline.data.scenes.holdout import (
    AXES,
    FEWEST_PHRASINGS,
    counts_of,
    is_held_out_count,
    is_held_out_place,
    is_held_out_shape,
    wordings,
)
from sightline.data.scenes.language import LANGUAGES, indefinite, name, plural, sentence
from sightline.data.scenes.panel_phrasings import PANEL_PHRASINGS
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.pictures import random_picture
from sightline.data.scenes.scene import CELLS, COLOURS, SHAPES, Shape, Thing
from sightline.data.scenes.stock import Stock
from sightline.data.scenes.vocabulary import vocabulary
from sightline.data.scenes.words import HELD_OUT_WORDS

LAYOUTS = ("single", "two", "scatter", "grid")


def scenes(axis, count=120, layouts=LAYOUTS):
    stock = Stock(axis=axis)
    for number, layout in product(range(count), layouts):
        yield random_scene(random.Random(number), layout, stock=stock)


def held_out(item, scene):
    if isinstance(item, Shape):
        return is_held_out_shape(item.colour, item.shape)
    return scene.layout != "single" and is_held_out_place(item.name, item.place)


def test_no_colour_shape_or_thing_vanishes():
    unseen = [pair for pair in product(COLOURS, SHAPES) if is_held_out_shape(*pair)]
    assert 0.05 < len(unseen) / len(COLOURS) / len(SHAPES) < 0.15
    assert max(Counter(colour for colour, _ in unseen).values()) <= 4
    assert max(Counter(shape for _, shape in unseen).values()) == 1
    for noun in nouns():
        assert sum(is_held_out_place(noun.id, cell) for cell in CELLS) == 1
    taken = Counter(next(cell for cell in CELLS if is_held_out_place(noun.id, cell)) for noun in nouns())
    assert len(taken) == len(CELLS)


def test_every_count_up_to_five_is_seen_of_most_names():
    names = [("thing", noun.id) for noun in nouns()]
    for count in range(2, 6):
        share = sum(is_held_out_count(identity, count) for identity in names) / len(names)
        assert 0.03 < share < 0.2
    assert not any(is_held_out_count(identity, 1) for identity in names)


def test_training_scenes_hold_nothing_that_is_held_out():
    drawn = [*scenes("seen")]
    drawn += [scene for number in range(150) for scene in random_pair(random.Random(number)).scenes]
    for scene in drawn:
        assert not any(held_out(item, scene) for item in scene.objects)
        assert not any(is_held_out_count(*pair) for pair in counts_of(item.identity for item in scene.objects).items())
        assert all(item.artist != HELD_OUT_ARTIST for item in scene.objects if isinstance(item, Thing))


def every_wording(held_out, phrasings):
    return [
        text
        for languages in phrasings.values()
        for language in LANGUAGES
        for text in wordings(languages[language], held_out)
    ]


def template(text):
    """What the wording may become, whatever is put into it."""
    return re.compile(
        "".join(".+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", text))
    )


# What a question is about, however it is put: of these, a wording of one kind may be another kind's.
ABOUT = re.compile(r"the shape \{place\}|\{place\}(那个|的)形状|\{\w+\}( one)?|\bit\b|它")


def test_no_wording_that_is_held_out_is_trained_for_another_kind():
    every = PHRASINGS | PANEL_PHRASINGS
    trained = {ABOUT.sub("this", text) for text in every_wording(held_out=False, phrasings=every)}
    held_out = every_wording(held_out=True, phrasings=every)
    assert not [text for text in held_out if ABOUT.sub("this", text) in trained]


def test_training_never_says_a_held_out_colour_and_shape_or_wording():
    world = World(image_size=8)
    unseen = [
        ("shape", colour, shape) for colour, shape in product(COLOURS, SHAPES) if is_held_out_shape(colour, shape)
    ]
    said = [form(identity, language) for identity in unseen for language in LANGUAGES for form in (name, plural)]
    last = [template(text) for text in every_wording(held_out=True, phrasings=PHRASINGS)]
    for index in range(200):
        for sample in world.text_questions(index, 10):
            text = " ".join(part["text"] for message in sample["messages"] for part in message["content"])
            assert not [words for words in said if words in text], text
            for question in questions_of(sample)[1:]:
                assert not any(wording.fullmatch(question) for wording in last), question
            asked = sample["messages"][0]["content"][-1]["text"]
            assert not any(wording.fullmatch(asked) for wording in last), asked


def test_a_tokenizer_learns_from_no_held_out_colour_and_shape_or_wording():
    unseen = [
        ("shape", colour, shape) for colour, shape in product(COLOURS, SHAPES) if is_held_out_shape(colour, shape)
    ]
    for language in LANGUAGES:
        texts = set(vocabulary(World(image_size=8).things, language))
        assert not texts & {plural(identity, language) for identity in unseen}
        assert not texts & {sentence(indefinite(identity, language), language) for identity in unseen}
        wordings = [kind[language] for kind in (PHRASINGS | PANEL_PHRASINGS).values()]
        assert not texts & {one[-1] for one in wordings if len(one) >= FEWEST_PHRASINGS}
        assert sum(one[0] in texts for one in wordings) > 10


def test_the_combination_axis_shows_nothing_but_unseen_combinations():
    for scene in scenes("combination", 40):
        assert all(held_out(item, scene) for item in scene.objects)


def test_the_count_axis_asks_for_counts_never_seen():
    world = World(split="test", axis="count", image_size=8, languages=("en",))
    assert world.kinds == ("count_thing", "count_both", "count_shape", "count_colour")
    plurals = {plural(("thing", noun.id), "en"): ("thing", noun.id) for noun in nouns()}
    plurals |= {
        plural(("shape", colour, shape), "en"): ("shape", colour, shape)
        for colour in ("", *COLOURS)
        for shape in SHAPES
    }
    plurals |= {plural(("shape", colour, ""), "en"): ("shape", colour, "") for colour in COLOURS}
    for kind, index in product(world.kinds, range(15)):
        sample, answer = world.question(index, kind)
        question = questions_of(sample)[0]
        if "of the shapes are" in question and kind == "count_colour":
            continue
        asked = max((words for words in plurals if re.search(rf"\b{words}\b", question)), key=len)
        assert is_held_out_count(plurals[asked], int(answer.split()[-1])), question


def test_the_phrasing_axis_asks_in_words_never_seen():
    world = World(split="test", axis="phrasing", image_size=8)
    for kind in ("name", "list", "describe", "count_all"):
        for index in range(5):
            assert questions_of(world.question(index, kind, "en")[0]) == PHRASINGS[kind]["en"][-1:]


def test_the_artist_axis_draws_things_by_the_held_out_artist_only():
    world = World(split="test", axis="artist", image_size=32)
    assert world.artists == (HELD_OUT_ARTIST,)
    for number, layout in product(range(20), LAYOUTS):
        scene = random_scene(random.Random(number), layout, stock=world._stock)
        assert all(isinstance(item, Thing) and item.artist == HELD_OUT_ARTIST for item in scene.objects)
    assert not {"colour", "shape", "size", "count_both"} & set(world.kinds)


@pytest.mark.parametrize("axis", AXES)
def test_every_axis_asks_all_its_kinds_in_both_languages(axis):
    world = World(split="test", axis=axis, image_size=8)
    assert world.kinds
    for kind in world.kinds:
        for language in LANGUAGES:
            assert world.question(0, kind, language)[1]
    for index in range(3):
        world.sample(index)
        world.questions(index, 4)


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis != "seen"])
def test_no_held_out_axis_can_be_had_in_training(axis):
    with pytest.raises(ValueError, match=r"held-out|held out"):
        World(axis=axis)


def test_axes_have_pictures_of_their_own():
    pictures = {World(split="test", axis=axis, image_size=8).sample(1)["images"][0].tobytes() for axis in AXES}
    assert len(pictures) == len(AXES)


def test_the_word_axis_prints_words_that_training_never_prints():
    unseen, seen = World(split="test", axis="word", image_size=8), World(image_size=8)
    for index in range(20):
        assert unseen.question(index, "word")[1] in HELD_OUT_WORDS
        assert seen.question(index, "word")[1] not in HELD_OUT_WORDS


@pytest.mark.parametrize("axis", ["font", "word"])
def test_panels_of_an_axis_are_made_of_what_it_holds_out(axis, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "sightline.data.scenes.world.random_picture",
        lambda rng, layout, stock, unseen: asked.append(set(unseen)) or random_picture(rng, layout, stock, unseen),
    )
    World(split="test", axis=axis, image_size=8).sample(0)
    World(split="test", image_size=8).sample(0)
    World(image_size=8).sample(0)
    assert [set(key) for key in dict.fromkeys(map(frozenset, asked))] == [{"digit", axis}, {"digit"}, set()]
