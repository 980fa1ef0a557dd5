"""The tuned model beside what it must beat, and what became of what it knew."""

import json

import pytest

from sightline.evaluation.judgement import Judgement, change
from sightline.evaluation.page import Comparison, Mistaken, render_report
from sightline.evaluation.results import Answer


def answers(*rights, kind="k", sure=None):
    return [Answer(kind, "", n, "q", "cat", "cat" if right else "dog", right, sure) for n, right in enumerate(rights)]


@pytest.fixture
def judgement():
    return Judgement(
        tuned=answers(1, 1, 1, 0), before=answers(1, 0, 0, 0), majority=answers(0, 0, 1, 0), blind=answers(0, 0)
    )


def test_the_picture_is_worth_what_it_adds_where_there_is_one(judgement):
    assert judgement.seeing.share().total == 2
    report = json.loads(json.dumps(judgement.as_dict()))
    assert report["what_the_picture_is_worth"] == 1.0
    assert report["tuned"]["overall"]["accuracy"] == 0.75
    assert report["without_picture"]["overall"]["total"] == 2
    low, high = report["tuned"]["overall"]["low"], report["tuned"]["overall"]["high"]
    assert low < 0.75 < high
    assert "majority answer 25.0 %, before tuning 25.0 %, without picture 0.0 %" in judgement.summary()


@pytest.mark.parametrize(
    ("tuned", "majority", "told"),
    [
        (10, 12, "It is no better than majority answer."),
        (14, 12, "So few questions do not tell it from majority answer."),
        (20, 4, "majority answer 20.0 %."),
    ],
)
def test_the_summary_says_what_is_not_beaten(tuned, majority, told):
    right = {name: answers(*(n < count for n in range(20))) for name, count in (("t", tuned), ("m", majority))}
    assert Judgement(right["t"], [], right["m"], []).summary().endswith(told)


@pytest.mark.parametrize(
    ("gained", "lost", "told"),
    [
        (20, 0, False),
        (6, 0, False),
        (5, 0, True),
        (14, 5, True),
        (30, 10, False),
        (1200, 900, False),
        (1100, 1090, True),
    ],
)
def test_the_same_questions_tell_more_than_two_intervals(gained, lost, told):
    before = answers(*[0] * gained, *[1] * lost, *[1] * 100, *[0] * 60)
    after = answers(*[1] * gained, *[0] * lost, *[1] * 100, *[0] * 60)
    assert ("do not tell it from before" in Judgement(after, before, [], []).summary()) == told


def test_questions_about_one_picture_tell_as_much_as_one():
    before = [Answer("k", "", n, "q", "cat", "dog", 0.0, shown="the picture") for n in range(20)]
    after = [Answer("k", "", n, "q", "cat", "cat", 1.0, shown="the picture") for n in range(20)]
    assert "do not tell it from before" in Judgement(after, before, [], []).summary()


def test_few_questions_of_one_kind_are_told_one_by_one():
    asked = [Answer("rows", "", n, f"Q{n % 2}?", "a", "a", n % 2) for n in range(6)]
    columns = Judgement(asked, asked, [], []).columns
    assert columns["tuned"].kinds == ["Q0?", "Q1?"]
    assert columns["tuned"].share("Q1?").accuracy == 1.0
    many = [Answer("rows", "", n, f"Q{n}?", "a", "a", 1.0) for n in range(20)]
    assert Judgement(many, [], [], []).columns["tuned"].kinds == ["rows"]


def test_rows_of_words_have_no_figure_without_picture():
    judged = Judgement(answers(1), answers(0), answers(0), [])
    assert "without picture" not in judged.columns
    assert judged.as_dict()["what_the_picture_is_worth"] is None


def test_the_worst_mistakes_are_those_the_model_was_surest_of():
    said = [(0, 0.2), (1, 0.99), (0, 0.9), (0.5, 0.95), (0, None)]
    found = [Answer("k", "", n, "q", "cat", "dog", right, sure) for n, (right, sure) in enumerate(said)]
    assert [one.index for one in Judgement(found, [], [], []).worst()] == [2, 0, 4]
    assert len(Judgement(found, [], [], []).worst(1)) == 1


def test_a_change_counts_what_was_lost_and_what_was_gained():
    found = change(answers(1, 1, 0, 0, 1), answers(1, 0, 1, 0))
    assert (found.lost, found.gained) == (1, 1)
    assert found.before.share().total == found.after.share().total == 4
    assert str(found) == "50.0 % of 4 questions right, 50.0 % before: 1 were forgotten, 1 learned"
    assert found.as_dict()["right_before_and_wrong_now"] == 1


def test_the_page_shows_them_side_by_side(judgement, tmp_path):
    sections = [Comparison("Held out", judgement.columns, ["Read <this>."])]
    text = render_report(tmp_path / "page.html", title="t", sections=sections).read_text(encoding="utf-8")
    for name in judgement.columns:
        assert f"<th>{name}</th>" in text
    assert "Read &lt;this&gt;." in text
    assert "<b>75.0&thinsp;%</b>" in text
    assert '<td class="count">4</td>' in text


def test_the_page_marks_what_is_taken_for_what(tmp_path):
    told = [("cat", "cat"), ("cat", "dog"), ("dog", "dog"), ("dog", "<b>")]
    found = [Answer("k", "", n, "q", truth, said, truth == said) for n, (truth, said) in enumerate(told)]
    table = Judgement(found, [], [], []).confusion
    text = render_report(tmp_path / "page.html", title="t", sections=[Mistaken("m", table)]).read_text(encoding="utf-8")
    assert text.count('<td class="right"') == 2
    assert text.count('<td class="wrong"') == 2
    assert "--share:0.50" in text
