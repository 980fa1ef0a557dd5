"""What an answer comes to is judged without the evidence that it writes out first."""

import re
from pathlib import Path

import pytest

from sightline.data.scenes import KINDS, World
from sightline.data.scenes.questions.asking import YES_NO
from sightline.data.scenes.results import RESULT_MARKS, result_of
from sightline.evaluation.evidence import judged, judged_by_topic
from sightline.evaluation.results import Answer, Share
from sightline.evaluation.topics import TOPICS

MARK = re.compile(r"[（(]\d+[)）]")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", RESULT_MARKS)
def test_the_result_is_all_that_stands_behind_the_evidence(kind, language):
    world = World(seed=3, split="test", languages=[language])
    for number in range(8):
        _, truth = world.question(number, kind, language)
        result = result_of(kind, truth)
        assert truth.endswith(result)
        assert 0 < len(result) < len(truth) / 2 + 2
        if "count" in kind:
            assert int(result) == len(MARK.findall(truth))
        elif kind == "chart_total":
            first, *added = re.findall(r"\+ (\d+)", f"+ {truth}")
            assert int(result) == int(first) + sum(map(int, added))
        elif kind in ("same_different", "chart_more"):
            answers = [*YES_NO["same"][language], *YES_NO["is"][language]]
            assert result.removeprefix("so ").capitalize() in answers
        else:
            assert not re.search(r"[.。,，(（]", result[:-1])  # one name


def test_a_wrong_name_in_the_list_leaves_the_number_right():
    told = ["A duck (1), a dog: 1", "A duck (1), a duck (2): 2"]
    counts = [Answer("count_thing", "en", i, "", "A duck (1), a cat: 1", said, 0.0) for i, said in enumerate(told)]
    by_kind = judged([*counts, Answer("name", "en", 0, "", "A duck.", "A duck.", 1.0)])
    assert by_kind.whole.kinds == ["count_thing", "name"]
    assert by_kind.alone.kinds == ["count_thing"]
    assert by_kind.alone.share() == Share(1.0, 2)


def test_a_topic_is_of_all_its_kinds_and_counts_those_without_evidence_whole():
    told = [("count_thing", "A duck (1), a dog: 1", 0.0), ("count_all", "Two.", 1.0), ("word", "tea", 1.0)]
    answers = [Answer(kind, "en", 0, "", said.replace("dog", "cat"), said, right) for kind, said, right in told]
    by_topic = judged_by_topic(answers)
    assert by_topic.whole.kinds == by_topic.alone.kinds == ["counts"]  # of print one kind is asked: it is told already
    assert by_topic.whole.share() == Share(1.0, 2)
    assert by_topic.alone.share() == Share(2.0, 2)
    without = judged_by_topic([answers[2], Answer("number", "en", 0, "", "7", "8", 0.0)])
    assert (without.whole.share("print"), without.alone.kinds) == (Share(1.0, 2), [])


def test_every_kind_of_a_topic_exists_and_is_in_no_other():
    placed = [kind for kinds in TOPICS.values() for kind in kinds]
    assert len(placed) == len({*placed})
    assert {*placed} <= {*KINDS}


def test_the_documented_topics_are_those_that_are_added_up():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z ]+?)(?: \(.*?\))? \| (`.*`.*) \|$", text, re.MULTILINE)
    told = {topic: tuple(re.findall("`(.*?)`", kinds)) for topic, kinds in rows}
    alone = told.pop("each by itself")
    assert {topic: told[topic] for topic in TOPICS} == TOPICS
    assert {*alone} == {*KINDS} - {kind for kinds in TOPICS.values() for kind in kinds}


def test_without_evidence_an_answer_is_its_own_result():
    assert result_of("count_thing", "2") == "2"
    assert result_of("added", "A cat.") == "A cat."
    assert result_of("nearest", " A cat. ") == "A cat."
