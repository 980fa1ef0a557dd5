"""What is taken for what: every short answer is counted once, frequent ones by name and the rest together."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sightline.evaluation.confusion import OTHER, confusion
from sightline.evaluation.metrics import normalize
from sightline.evaluation.results import Answer


def answers(pairs):
    return [Answer("k", "", number, "?", truth, said, 0.0) for number, (truth, said) in enumerate(pairs)]


words = st.sampled_from(["3", "12", "Cat.", "cat", "a dog", "nothing at all"])


@given(st.lists(st.tuples(words, words), max_size=40), st.integers(2, 4))
def test_each_answer_to_a_short_truth_is_counted_once(pairs, most):
    table = confusion(answers(pairs), most)
    classes = Counter(normalize(truth) for truth, _ in pairs)
    if len(classes) < 2:
        assert table is None
        return
    assert sum(map(sum, table.counts)) == len(pairs)
    assert len(table.labels) == min(most, len(classes)) + 1
    assert table.labels[-1] == OTHER
    place = {label: number for number, label in enumerate(table.labels)}
    for label in table.labels[:-1]:
        assert sum(table.counts[place[label]]) == classes[label]
        expected = sum(normalize(truth) == normalize(said) == label for truth, said in pairs)
        assert table.counts[place[label]][place[label]] == expected


def test_what_was_counted_right_is_no_mistake():
    said = [("two", "2", 1.0), ("two", "It is two.", 1.0), ("two", "3", 0.0), ("2", "2", 1.0), ("cat", "(b)", 1.0)]
    found = [Answer("k", "", n, "?", truth, answer, right) for n, (truth, answer, right) in enumerate(said)]
    table = confusion(found)
    assert list(table.labels) == ["2", "cat", "two", OTHER]
    assert [list(row) for row in table.counts] == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 1], [0, 0, 0, 0]]


def test_numbers_stand_in_their_order_and_sentences_are_left_out():
    told = [("10", "9"), ("9", "10"), ("A sentence that describes what there is to be seen.", "10"), ("Red", "red")]
    table = confusion(answers(told))
    assert list(table.labels) == ["9", "10", "red", OTHER]
    assert table.counts[0][1] == table.counts[1][0] == table.counts[2][2] == 1
    assert sum(map(sum, table.counts)) == 3
