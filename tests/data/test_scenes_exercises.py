"""Exercises in text alone: what is told is all that their answers name."""

import re
from itertools import chain

import pytest

from sightline.data.sample import answers_of
from sightline.data.scenes.exercises import PAIR_KINDS, SCENE_KINDS
from sightline.data.scenes.holdout import wordings
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.world import World


def english_rows(count=120):
    """What is told, a line for each picture, and asked and answered."""
    world = World(languages=("en",))
    for index in range(count):
        for sample in world.exercises(index, 6):
            told, asked = (part["text"] for part in sample["messages"][0]["content"])
            yield told.splitlines(), asked, answers_of(sample)[0]


def names_in(text):
    return [name.lower() for name in re.split(r", | and ", text.rstrip("."))]


def test_a_tally_repeats_the_list_and_numbers_what_it_counts():
    counts = 0
    for told, _, answer in english_rows():
        if tally := re.fullmatch(r"(.+): (\d)", answer):
            marked, number = tally.groups()
            assert [f"{re.sub(r' [(][0-9][)]', '', marked)}."] == told
            assert re.findall(r"\((\d)\)", marked) == [str(place + 1) for place in range(int(number))]
            counts += 1
    assert counts > 100


def test_of_two_lists_it_is_said_of_every_name_of_the_other_one_whether_it_is_in_the_one_told_first():
    notes = set()
    for told, _, answer in english_rows():
        if pair := re.fullmatch(
            r"The (first|second) shows (?:\d: )?(.+?), the (?:first|second) (?:\d: )?(.+?)\. .+", answer
        ):
            order, before, after = pair.groups()
            first, other = told if order == "first" else reversed(told)
            assert names_in(before) == names_in(first)
            expected = [f"{name} {'too' if name in names_in(first) else 'only'}" for name in names_in(other)]
            assert names_in(after) == expected
            notes.add((order, " only" in after))
    assert notes == {("first", True), ("second", True), ("first", False), ("second", False)}


def test_exercises_ask_oftener_what_the_mix_weighs_more():
    rare = dict.fromkeys(("added", "removed", "which_picture"), 0.02)
    often = World(languages=("en",), mix={"same_different": 50.0, **rare}, layouts={"scatter": 0.0, "grid": 0.0})
    firsts = [answers_of(often.exercises(index, 1)[0])[0] for index in range(30)]
    assert sum(answer.endswith((" Yes.", " No.")) for answer in firsts) > 25  # alike they would be a quarter


def test_exercises_of_an_axis_ask_what_it_holds_out():
    world = World(split="test", axis="phrasing", languages=("en",))
    samples = [sample for index in range(30) for sample in world.exercises(index, 6)]
    asked = {sample["messages"][0]["content"][1]["text"] for sample in samples}
    kept, learned = (
        {
            wording
            for kind in ("added", "removed", "same_different")
            for wording in wordings(PHRASINGS[kind]["en"], held)
        }
        for held in (True, False)
    )
    assert asked & kept
    assert not asked & learned


def test_exercises_show_nothing_and_depend_on_the_number_alone():
    world = World(seed=3)
    for index in range(20):
        samples = world.exercises(index, 5)
        assert 1 <= len(samples) <= 5
        assert samples == World(seed=3).exercises(index, 5)
        assert all(sample["images"] == [] for sample in samples)
        parts = [sample["messages"][0]["content"] for sample in samples]
        assert all(told is parts[0][0] for told, _ in parts)
        assert len({asked["text"] for _, asked in parts}) == len(parts)
    assert world.exercises(0, 5) != world.exercises(1, 5)


def test_both_languages_have_exercises():
    answers = chain.from_iterable(map(answers_of, World().exercises(index, 1)) for index in range(40))
    assert {bool(re.search("[A-Za-z]", answer)) for (answer,) in answers} == {True, False}


NONE_OF = {"added": 0, "removed": 0, "same_different": 0, "which_picture": 0}


@pytest.mark.parametrize("world", [World(mix=NONE_OF), World(layouts={"pair": 0})])
def test_exercises_leave_out_what_a_world_does(world):
    for index in range(30):
        for sample in world.exercises(index, 6):
            assert sample["messages"][0]["content"][0]["text"].count("\n") == 1


def test_a_world_that_asks_nothing_of_names_has_no_exercises():
    kinds = (*SCENE_KINDS, *PAIR_KINDS)
    with pytest.raises(ValueError, match="exercises ask what names answer, and `mix` and `layouts` leave none of it"):
        World(mix=dict.fromkeys(kinds, 0)).exercises(0, 1)


def test_a_list_without_questions_is_refused():
    with pytest.raises(ValueError, match="at least one question, not 0"):
        World().exercises(0, 0)
