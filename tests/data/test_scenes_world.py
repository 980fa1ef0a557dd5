"""The world as its users see it: deterministic, splits apart, every kind in both languages, useful errors."""

import re
from collections import Counter

import numpy as np
import pytest

from sightline.data.sample import answers_of, questions_of, sample_from
from sightline.data.scenes import HELD_OUT_ARTIST, KINDS, TRAIN_ARTISTS, World
from sightline.data.scenes.atlas import nouns
from sightline.data.scenes.language import PLACES
from sightline.data.scenes.world import LAYOUTS, SPLITS


def test_a_sample_is_a_function_of_seed_split_and_index():
    one, two = World(seed=3).sample(17), World(seed=3).sample(17)
    assert one["messages"] == two["messages"]
    assert one["images"][0].tobytes() == two["images"][0].tobytes()
    for other in (World(seed=3).sample(18), World(seed=4).sample(17), World(seed=3, split="test").sample(17)):
        assert other["images"][0].tobytes() != one["images"][0].tobytes()


def test_splits_share_no_picture():
    worlds = {split: World(split=split, image_size=32) for split in SPLITS}
    pictures = {
        split: {world.sample(index)["images"][0].tobytes() for index in range(150)} for split, world in worlds.items()
    }
    assert len(pictures["train"]) == len(pictures["test"]) == 150
    assert not pictures["train"] & pictures["test"]


def test_the_held_out_artist_is_refused_in_training_and_welcome_in_testing():
    assert HELD_OUT_ARTIST not in TRAIN_ARTISTS
    with pytest.raises(ValueError, match="held-out artist"):
        World(artists=("noto", HELD_OUT_ARTIST))
    sample = World(split="test", artists=(HELD_OUT_ARTIST,)).sample(0)
    assert sample["images"][0].size == (224, 224)


def test_a_sample_is_a_conversation_with_the_picture_first():
    sample = World().sample(5, layout="scatter", questions=3)
    roles = [message["role"] for message in sample["messages"]]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    kinds = [[part["type"] for part in message["content"]] for message in sample["messages"]]
    assert kinds[0] == ["image", "text"]
    assert all(kind == ["text"] for kind in kinds[1:])
    assert len(sample["images"]) == 1


def test_questions_of_one_conversation_differ_and_share_a_language():
    for index in range(60):
        questions = questions_of(World(image_size=16).sample(index))
        assert 1 <= len(questions) == len(set(questions)) <= 4
        assert len({question.isascii() for question in questions}) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_kind_is_asked_and_answered_in_each_language(kind, language):
    world = World(image_size=16)
    wordings = set()
    for index in range(12):
        sample, answer = world.question(index, kind, language)
        assert answers_of(sample)[-1] == answer
        assert (len(answers_of(sample)) > 1) == (kind == "dialogue")
        assert "{" not in questions_of(sample)[0] + answer
        assert questions_of(sample)[0].isascii() == (language == "en")
        wordings |= set(questions_of(sample))
    assert len(wordings) >= 3


@pytest.mark.parametrize("kind", ["exists", "relation"])
def test_yes_and_no_are_balanced(kind):
    world = World(image_size=8)
    yes = sum(world.question(index, kind, "en")[1] == "Yes." for index in range(400))
    assert 160 <= yes <= 240  # four standard deviations


@pytest.mark.parametrize("size", [8, 57, 224, 300])
def test_pictures_have_the_size_asked_for(size):
    world = World(image_size=size)
    for layout in LAYOUTS:
        picture = world.sample(0, layout=layout)["images"][0]
        assert picture.size == (size, size)
        assert picture.mode == "RGB"


@pytest.mark.parametrize("method", ["questions", "text_questions"])
def test_questions_about_one_picture_are_conversations_of_their_own(method):
    world = World(image_size=32)
    for index in range(40):
        samples = getattr(world, method)(index, 10)
        assert 1 <= len(samples) <= 10
        assert all(sample["images"] is samples[0]["images"] for sample in samples) or method == "text_questions"
        asked = [tuple(questions_of(sample)) for sample in samples]
        assert len(set(asked)) == len(asked)
        assert samples == getattr(World(image_size=32), method)(index, 10)


def test_a_picture_of_many_objects_is_asked_about_in_many_ways():
    world = World(image_size=8, grid_share=1.0, languages=("en",))
    for index in range(20):
        samples = world.questions(index, 16)
        assert len(samples) == 16
        starts = {" ".join(questions_of(sample)[0].split()[:2]) for sample in samples}
        assert len(starts) >= 6


def test_told_pictures_hold_what_their_answers_name():
    world = World(languages=("en",))
    seen = 0
    for index in range(60):
        samples = world.text_questions(index, 12)
        told = samples[0]["messages"][0]["content"][0]
        for sample in samples:
            assert sample["images"] == []
            content = sample["messages"][0]["content"]
            assert [part["type"] for part in content] == ["text", "text"]
            assert content[0] is told
            assert told["text"].endswith("\n")
            question, answer = content[1]["text"], answers_of(sample)[0]
            if question.startswith("What is") and re.fullmatch(r"An? \w+ ?\w+\.", answer):
                assert answer[:-1].split()[-1] in told["text"]
                seen += 1
    assert seen > 30


def test_regions_are_boxes_with_names_of_what_is_in_them():
    world = World(languages=("en",), image_size=96)
    empty = 0
    for index in range(60):
        regions = world.regions(index)
        assert regions.image.size == (96, 96)
        assert len(regions.boxes) == len(regions.texts) >= 1
        for x0, y0, x1, y1 in regions.boxes:
            assert -1e-6 <= x0 < x1 <= 1 + 1e-6
            assert -1e-6 <= y0 < y1 <= 1 + 1e-6
        assert regions.texts.count("nothing") <= 1
        empty += "nothing" in regions.texts
    assert empty


def test_regions_are_of_the_layouts_that_are_asked_for():
    only_print = World(languages=("en",), image_size=32, layouts=dict.fromkeys(LAYOUTS, 0) | {"printed": 1})
    for index in range(20):
        assert "word" in (text := only_print.regions(index).texts[0]) or "number" in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_placed_regions_are_the_same_with_their_cell_in_the_name(language):
    world = World(languages=(language,), image_size=32)
    placed = 0
    for index in range(40):
        plain, named = world.regions(index), world.regions(index, placed=True)
        assert plain.boxes == named.boxes
        assert plain.image == named.image
        for (x0, y0, x1, y1), short, long in zip(plain.boxes, plain.texts, named.texts, strict=True):
            row, col = int((y0 + y1) * 1.5), int((x0 + x1) * 1.5)
            place = PLACES[language][row][col]
            assert long in (short, f"{short} {place}", f"{place}的{short}")
            placed += long != short
    assert placed > 40


def test_a_region_of_a_shape_has_its_colour_in_the_middle():
    world = World(languages=("en",), layouts=dict.fromkeys(LAYOUTS, 0) | {"grid": 1})
    seen = 0
    for index in range(60):
        regions = world.regions(index)
        pixels = np.asarray(regions.image).astype(int)
        for (x0, y0, x1, y1), text in zip(regions.boxes, regions.texts, strict=True):
            colour = next((colour for colour in ("red", "green", "blue") if f" {colour} " in text), None)
            if colour:
                pixel = pixels[int((y0 + y1) * 112), int((x0 + x1) * 112)]
                assert pixel.argmax() == ("red", "green", "blue").index(colour)
                seen += 1
    assert seen > 20


def test_about_a_fifth_of_the_pictures_are_panels():
    world = World(image_size=8, grid_share=0.0, languages=("en",))
    panels = sum(
        "handwritten" in text or "chart" in text or " word " in text or " number " in text
        for text in (world.text_questions(index, 1)[0]["messages"][0]["content"][0]["text"] for index in range(500))
    )
    assert 65 <= panels <= 135


def test_layouts_are_weighted_as_asked():
    world = World(image_size=8, grid_share=0.0, layouts=dict.fromkeys(LAYOUTS, 0) | {"pair": 1})
    assert all(len(world.sample(index)["images"]) == 2 for index in range(10))
    with pytest.raises(ValueError, match="no layout of positive weight"):
        world.sample(0, kinds=["word"])


def test_evenly_many_questions_ask_for_each_count_up_to_five():
    world = World(image_size=8)
    for kind in ("count_thing", "count_both", "count_shape", "count_colour"):
        counts = Counter(world.question(index, kind)[1].split()[-1] for index in range(60))
        assert set(counts) >= set("012345")
        assert max(counts.values()) <= 24


def test_grid_share_is_the_share_of_pictures_that_list_a_grid():
    def lists(world, index):
        return any(answer.count(", ") == 8 and ":" not in answer for answer in answers_of(world.sample(index)))

    never = World(grid_share=0, image_size=8, languages=("en",), mix={"list": 0})
    always = World(grid_share=1, image_size=8, languages=("en",))
    assert not any(lists(never, index) for index in range(40))
    assert all(lists(always, index) for index in range(40))


def test_a_weight_of_zero_removes_a_kind():
    world = World(image_size=8, languages=("en",), mix=dict.fromkeys(KINDS, 0) | {"count_all": 1})
    for index in range(20):
        assert answers_of(world.sample(index))[0].isdigit()
        for asked in (world.questions, world.text_questions):
            assert [answers_of(sample)[0].isdigit() for sample in asked(index, 4)] == [True]


def test_a_picture_that_none_of_the_wanted_questions_suits_gives_way_to_another(monkeypatch):
    # Whoever wants pages of one word gets no page without words, and no page of two.
    world = World(image_size=8, mix=dict.fromkeys(KINDS, 0) | {"word": 1})
    assert all(world.questions(index, 4) and world.text_questions(index, 4) for index in range(40))
    monkeypatch.setattr("sightline.data.scenes.world.ATTEMPTS", 1)
    with pytest.raises(ValueError, match=r"no picture suits the questions that are asked, word: let `mix` have others"):
        [world.questions(index, 4) for index in range(40)]


def test_a_small_vocabulary_draws_nothing_else():
    assert World(things=["duck", "car"]).things == ("duck", "car")
    assert World(things=10).things == tuple(noun.id for noun in nouns()[:10])
    world = World(things=["dog"], languages=("en",), image_size=8)
    assert {world.question(index, "name", "en")[1] for index in range(80)} >= {"A dog."}


def test_things_that_no_chosen_artist_has_drawn_are_left_out():
    world = World(artists=("streamline-emojis",), things=["duck", "dog"], image_size=32)
    assert world.things == ("dog",)
    for index in range(20):
        world.sample(index)


def test_texts_cover_all_names():
    text = "\n".join(World().texts(5))
    assert all(noun.en in text and noun.en_plural in text and noun.zh in text for noun in nouns())


@pytest.mark.parametrize(
    ("call", "nearest"),
    [
        (lambda: World(split="trian"), "train"),
        (lambda: World(artists=("notto",)), "noto"),
        (lambda: World(things=["duk"]), "duck"),
        (lambda: World(languages=("eng",)), "en"),
        (lambda: World(mix={"decribe": 1.0}), "describe"),
        (lambda: World(layouts={"scater": 1.0}), "scatter"),
        (lambda: World(split="test", axis="counts"), "count"),
        (lambda: World().sample(0, layout="gird"), "grid"),
        (lambda: World().sample(0, kinds=["wher"]), "where"),
        (lambda: World().question(0, "counts_all"), "count_all"),
        (lambda: World().question(0, "where", "zhh"), "zh"),
    ],
)
def test_an_unknown_name_is_an_error_that_offers_the_nearest(call, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: World(things=0),
        lambda: World(things=10_000),
        lambda: World(things=[]),
        lambda: World(artists=()),
        lambda: World(languages=()),
        lambda: World(image_size=7),
        lambda: World(grid_share=1.5),
        lambda: World(axis="count"),
        lambda: World().sample(0, questions=0),
        lambda: World().questions(0, 0),
        lambda: World(split="test", axis="font").question(0, "where"),
        lambda: World().sample(0, layout="grid", kinds=["name"]),
        lambda: sample_from([], []),
        lambda: sample_from(["one?", "two?"], ["one"]),
    ],
)
def test_a_choice_that_cannot_be_met_is_an_error(call):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own wording
        call()


def test_pictures_are_not_blank():
    for index in range(10):
        assert np.asarray(World(image_size=48).sample(index)["images"][0]).std() > 4


def test_regions_of_a_world_that_shows_none_are_refused():
    shares = dict.fromkeys(("single", "two", "scatter", "grid", "printed", "digits", "bars", "pie"), 0.0)
    with pytest.raises(ValueError, match=r"pictures of regions have one of the layouts single, .*: give one weight"):
        World(layouts=shares).regions(0)
