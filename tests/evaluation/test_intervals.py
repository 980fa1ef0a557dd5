"""Questions about one picture are right or wrong together; intervals that took them for independent would flatter."""

import json

import numpy as np
import pytest
from PIL import Image

from sightline.evaluation.evaluate import judge
from sightline.evaluation.metrics import effective_total, wilson_interval
from sightline.evaluation.results import Answer, Results
from sightline.evaluation.tasks import file_tasks


def answers(scores_by_picture):
    """An answer for each score; those of a picture are told to belong to it."""
    return [
        Answer("k", "en", 100 * picture + number, "Q", "T", "A", float(score), shown=f"picture {picture}")
        for picture, scores in enumerate(scores_by_picture)
        for number, score in enumerate(scores)
    ]


def coverage(interval_of, rng, trials=400):
    """How often the interval holds the truth, 1/2: 20 pictures of any difficulty, 8 questions about each."""
    held = 0
    for _ in range(trials):
        difficulty = rng.uniform(size=20)
        low, high = interval_of(rng.uniform(size=(20, 8)) < difficulty[:, None])
        held += low <= 0.5 <= high
    return held / trials


def test_the_interval_holds_the_truth_as_often_as_it_says():
    together = coverage(lambda scores: Results(answers(scores)).share().interval, np.random.default_rng(0))
    apart = coverage(lambda scores: wilson_interval(scores.sum(), scores.size), np.random.default_rng(0))
    assert apart < 0.8  # so this is what it is about
    assert 0.92 < together < 0.99


@pytest.mark.parametrize("right", [0, 3, 10])
def test_pictures_with_one_question_each_are_independent(right):
    scores = [[number < right] for number in range(10)]
    assert Results(answers(scores)).share().interval == wilson_interval(right, 10)


def test_answers_that_agree_within_a_picture_count_once():
    scores = [[1] * 5, [0] * 5, [1] * 5, [1] * 5] * 10
    low, high = Results(answers(scores)).share().interval
    assert (low, high) == pytest.approx(wilson_interval(30, 40), abs=0.01)
    assert Results(answers([[1, 1]] * 30)).share().interval == wilson_interval(30, 30)


def test_answers_that_differ_within_pictures_say_no_more_than_independent_ones():
    assert effective_total([(1, 2)] * 20) == 40


def test_all_questions_about_a_single_picture_say_as_much_as_one():
    assert effective_total([(4, 8)]) == 1
    assert Results(answers([[1] * 4 + [0] * 4])).share().interval == wilson_interval(0.5, 1)


def test_a_picture_with_most_of_the_questions_does_not_hide_that_there_are_few():
    assert effective_total([(50, 100)] + [(0, 1)] * 9) < 2


def test_rows_of_a_file_about_one_picture_belong_together(tmp_path):
    rows = []
    for number in range(6):
        Image.new("RGB", (8, 8), (40 * (number // 2), 0, 0)).save(tmp_path / f"{number // 2}.png")
        turns = [{"role": "user", "content": f"Q{number}?"}, {"role": "assistant", "content": "A"}]
        rows.append({"messages": turns, "images": [f"{number // 2}.png"]})
    rows.append({"messages": [{"role": "user", "content": "No picture?"}, {"role": "assistant", "content": "A"}]})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = file_tasks(tmp_path / "rows.jsonl")
    judged = [judge(tasks.question(key), "A" if key.number % 4 < 2 else "B") for key in tasks.keys]
    shown = [one.shown for one in judged]
    assert [shown.index(one) for one in shown] == [0, 0, 2, 2, 4, 4, 6]
    assert shown[6] == ""
    share = Results(judged).share()
    assert (share.right, share.total) == (4, 7)
    assert share.effective < 7
