"""An answer is right when its words are; each metric against worked cases and laws that hold for any text."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.evaluation import answering, curves, metrics
from sightline.evaluation.metrics import anls, chosen, contains, exact, normalize, score, wilson_interval

WORDS = st.text(max_size=30)


@pytest.mark.parametrize("module", [metrics, answering, curves])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("A duck.", "a duck", 1),
        ("  A   duck. ", "A duck.", 1),
        ("一只鸭子", "一只鸭子。", 1),
        ("１２", "12", 1),
        ("Straße", "STRASSE", 1),
        ("A dog.", "A duck.", 0),
        ("A duck. A dog.", "A duck.", 0),
        ("", "A duck.", 0),
    ],
)
def test_only_case_width_space_and_the_final_stop_do_not_count(answer, truth, right):
    assert exact(answer, truth) == right


@given(WORDS)
def test_normalising_twice_is_normalising_once(text):
    assert normalize(normalize(text)) == normalize(text)


@given(WORDS, WORDS)
def test_what_is_exact_is_right_by_every_metric(answer, truth):
    assert score("exact", truth, [truth]) == score("contains", truth, [truth]) == score("anls", truth, [truth]) == 1
    for metric in ("exact", "contains", "anls"):
        assert 0 <= score(metric, answer, [truth]) <= 1
        assert score(metric, answer, [truth, answer]) == 1


@given(WORDS, WORDS)
def test_anls_is_symmetric_and_zero_or_above_its_threshold(one, other):
    assert anls(one, other) == anls(other, one)
    assert anls(one, other) == 0 or anls(one, other) > 0.5


def test_anls_is_the_papers():
    # Half of the characters wrong is a distance of 0.5, which no longer counts.
    assert anls("abcd", "abxy") == 0
    assert anls("abcd", "abcx") == 0.75
    assert score("anls", "coca cola", ["pepsi", "Coca-Cola"]) == pytest.approx(8 / 9)


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("There are 3 ducks.", "3", 1),
        ("There are 13 ducks.", "3", 0),
        ("A scatter of cats.", "cat", 0),
        ("左上角有一只鸭子", "鸭子", 1),
        ("The sign says STOP!", "stop", 1),
        ("C++ it is", "c++", 1),
        ("It is -5.", "5", 0),
        ("It is -5.", "-5", 1),
        ("From 3-5 of them.", "5", 1),
        ("काला", "काल", 0),
        ("वह काला है", "काला", 1),
        ("anything", "", 0),
    ],
)
def test_contains_looks_for_whole_words_where_a_script_has_them(answer, truth, right):
    assert contains(answer, truth) == right


ANIMALS = ["a dog", "a cat", "a black cat", "none of these"]


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("B", 1),
        ("b.", 1),
        ("(C)", 2),
        ("C) a black cat", 2),
        ("D: none of these", 3),
        ("The answer is (A).", 0),
        ("Answer: B", 1),
        ("答案是B。", 1),
        ("（Ｂ）", 1),
        ("A cat", 1),
        ("A dog.", 0),
        ("It is a black cat.", 2),
        ("a dog and a cat", None),
        ("E", None),
        ("Because", None),
        ("", None),
    ],
)
def test_a_choice_is_named_by_letter_or_text(answer, index):
    assert chosen(answer, ANIMALS) == index


@given(st.lists(st.text(alphabet="pqrstuv", min_size=3), min_size=1, max_size=5, unique=True), st.data())
def test_every_choice_is_found_by_its_text_and_by_its_letter(choices, data):
    index = data.draw(st.integers(0, len(choices) - 1))
    letter = "ABCDE"[index]
    for said in (choices[index], letter, f"({letter})", f"{letter}.", f"{letter}) {choices[index]}"):
        assert chosen(said, choices) == index


def test_the_truth_of_a_multiple_choice_may_be_a_letter_or_a_text():
    assert score("choice", "b)", ["a cat"], ANIMALS) == score("choice", "a cat", ["B"], ANIMALS) == 1
    assert score("choice", "A", ["B"], ANIMALS) == score("choice", "who knows", ["B"], ANIMALS) == 0


def test_the_interval_is_wilsons():
    # Newcombe (1998), table I: 81 of 263, and 15 of 148.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    low, high = wilson_interval(20, 20)
    assert 0.8 < low < high == 1.0


@given(st.integers(1, 500).flatmap(lambda total: st.tuples(st.floats(0, total), st.just(total))))
def test_the_interval_holds_the_share(case):
    right, total = case
    low, high = wilson_interval(right, total)
    assert 0 <= low <= right / total + 1e-9
    assert right / total - 1e-9 <= high <= 1
