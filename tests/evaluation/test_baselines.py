"""What could be had without a model or without a picture: counted by hand, and collapsing where pictures matter."""

import json
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.readers import open_data
from sightline.evaluation import baselines
from sightline.evaluation.baselines import Majority, answers_learned_from, without_pictures
from sightline.evaluation.row_tasks import held_out_tasks


def row(question, answer, picture=None, **fields):
    content = [{"type": "image"}] * bool(picture) + [{"type": "text", "text": question}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "images": [picture] if picture else [], **fields}


@pytest.fixture
def opened(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(picture.read_bytes())

    def write(*rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        return open_data(path)

    return write


questions = st.sampled_from(["How many?", "how  Many?", "Which colour?"])
replies = st.sampled_from(["Two.", "two", "Red", "Three"])


def plain(text):
    return " ".join(text.casefold().split())


@given(st.lists(st.tuples(questions, replies), max_size=30), st.sampled_from(["How many?", "Why?"]))
def test_the_majority_is_a_count_by_hand(told, asked):
    said = Majority(told)(asked).casefold().rstrip(".")
    by_question = defaultdict(Counter)
    for question, answer in told:
        by_question[plain(question)][answer.casefold().rstrip(".")] += 1
    counts = by_question.get(plain(asked)) or sum(by_question.values(), Counter())
    assert counts[said] == max(counts.values(), default=0)
    assert bool(said) == bool(told)


def test_the_majority_is_learned_on_one_side_and_judged_on_the_other(opened):
    learned = opened(
        row("Colour?", "Red.", "a.png"),
        row("Colour?", "Blue.", "a.png"),
        row("Colour?", "red", "a.png"),
        row("How many?", "2", "a.png"),
        row("Why?", "No.", answers=["Because.", "So."]),
    )
    held = opened(
        row("Colour?", "Red", "a.png"),
        row("colour?", "Blue", "a.png"),
        row("How many?", "2", "a.png"),
        row("Why?", "So."),
        row("Never asked?", "Red"),
        name="held.jsonl",
    )
    tasks = held_out_tasks([held], 99)
    answers = Majority(answers_learned_from([learned])[0]).answers(tasks.question(key) for key in tasks.keys)
    found = {one.question: (one.answer, one.right) for one in answers}
    assert found == {
        "Colour?": ("Red.", 1.0),
        "colour?": ("Red.", 0.0),
        "How many?": ("2", 1.0),
        "Why?": ("Because.", 0.0),
        "Never asked?": ("Red.", 1.0),
    }


def test_without_pictures_the_words_stay_and_rows_of_words_are_not_asked(opened):
    tasks = held_out_tasks([opened(row("Seen?", "A.", "a.png"), row("Read?", "B."))], 99)
    blind = without_pictures(tasks)
    (question,) = [blind.question(key) for key in blind.keys]
    assert (question.text, question.pictures, list(question.truths)) == ("Seen?", [], ["A."])
    assert len(tasks.question(question.key).pictures) == 1


def test_rows_of_several_files_are_asked_in_a_fixed_mixture_and_fewer_are_the_first_of_more(opened):
    first = opened(*(row(f"One {n}?", "A.", kind="k") for n in range(30)))
    second = opened(*(row(f"Two {n}?", "A.", kind="k") for n in range(30)), name="two.jsonl")
    tasks = held_out_tasks([first, second], 40)
    texts = [tasks.question(key).text for key in tasks.keys]
    assert len(set(tasks.keys)) == len(set(texts)) == 40
    assert {text[:3] for text in texts[:10]} == {"One", "Two"}
    assert held_out_tasks([first, second], 10).keys == tasks.keys[:10]


def test_rows_that_ask_nothing_are_passed_over(opened):
    told = {"messages": [{"role": "assistant", "content": "Once upon a time."}]}
    rows = opened(told, row("What?", "A."), told)
    tasks = held_out_tasks([rows], 99)
    assert [tasks.question(key).text for key in tasks.keys] == ["What?"]
    assert answers_learned_from([rows])[0] == [("What?", "A.")]


def test_rows_that_cannot_be_scored_are_counted_and_the_first_is_quoted(opened):
    bad = row("How many?", "3", answers=[3])
    rows = opened(row("What?", "A."), bad, bad)
    for passed_over in (held_out_tasks([rows], 99).passed_over, answers_learned_from([rows])[1]):
        assert passed_over.rows == 2
        assert "'answers' is a list of texts, but is [3]" in passed_over.first
        assert str(passed_over).startswith("2 rows; the first: ")
    assert "line 2" in answers_learned_from([rows])[1].first
    assert held_out_tasks([opened(row("What?", "A."))], 99).passed_over.rows == 0


def test_a_row_that_cannot_be_read_is_passed_over_for_training_may_never_have_come_to_it(opened):
    rows = opened(row("What?", "A."), {"messages": 3}, row("Why?", "B."))
    learned, passed_over = answers_learned_from([rows])
    assert learned == [("What?", "A."), ("Why?", "B.")]
    assert passed_over.rows == 1
    assert "line 2" in passed_over.first


def test_each_file_may_have_a_metric_of_its_own(opened):
    one, two = (
        opened(row("One?", "cat")),
        opened(row("Two?", "cat"), row("Own?", "cat", metric="exact"), name="2.jsonl"),
    )
    tasks = held_out_tasks([one, two], 99, ["contains", None])
    found = {(question := tasks.question(key)).text: question.metric for key in tasks.keys}
    assert found == {"One?": "contains", "Two?": "exact", "Own?": "exact"}


def test_of_many_rows_those_counted_come_from_all_over_the_file(opened, monkeypatch):
    monkeypatch.setattr(baselines, "MOST", 4)
    learned, _ = answers_learned_from([opened(*[row("What?", "Cat.")] * 3, *[row("What?", "Dog.")] * 9)])
    assert len(learned) == 4
    assert Majority(learned)("What?") == "Dog."
