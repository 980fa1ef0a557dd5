"""The world as its users see it: deterministic, splits apart, every kind in both languages, useful errors."""

import numpy as np
import pytest

from sightline.data.sample import answers_of, questions_of, sample_from
from sightline.data.scenes import HELD_OUT_ARTIST, KINDS, TRAIN_ARTISTS, World
from sightline.data.scenes.atlas import nouns
from sightline.data.scenes.world import SPLITS


def test_a_sample_is_a_function_of_seed_split_and_index():
    one, two = World(seed=3).sample(17), World(seed=3).sample(17)
    assert one["messages"] == two["messages"]
    assert one["images"][0].tobytes() == two["images"][0].tobytes()
    for other in (World(seed=3).sample(18), World(seed=4).sample(17), World(seed=3, split="test").sample(17)):
        assert other["images"][0].tobytes() != one["images"][0].tobytes()


def test_splits_share_no_picture():
    pictures = {
        split: {World(split=split, image_size=32).sample(index)["images"][0].tobytes() for index in range(150)}
        for split in SPLITS
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
    sample = World().sample(5, questions=3)
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
        assert answers_of(sample) == [answer]
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
    for layout in ("single", "scatter", "grid"):
        picture = world.sample(0, layout=layout)["images"][0]
        assert picture.size == (size, size)
        assert picture.mode == "RGB"


def test_grid_share_is_the_share_of_pictures_that_list_a_grid():
    def lists(world, index):
        return any(answer.count(", ") == 8 for answer in answers_of(world.sample(index)))

    never = World(grid_share=0, image_size=8, languages=("en",), mix={"list": 0})
    always = World(grid_share=1, image_size=8, languages=("en",))
    assert not any(lists(never, index) for index in range(40))
    assert all(lists(always, index) for index in range(40))


def test_a_weight_of_zero_removes_a_kind():
    world = World(image_size=8, languages=("en",), mix=dict.fromkeys(KINDS, 0) | {"count_all": 1}, grid_share=0)
    assert all(answers_of(world.sample(index))[0].isdigit() for index in range(20))


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
        lambda: World().sample(0, questions=0),
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
