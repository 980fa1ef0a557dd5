"""What an answer comes to is judged without the evidence that it writes out first."""

import re

import pytest

from sightline.data.scenes import World
from sightline.data.scenes.questions.asking import YES_NO
from sightline.data.scenes.results import RESULT_MARKS, result_of
from sightline.evaluation.evidence import results_alone
from sightline.evaluation.results import Answer, Share

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
    alone = results_alone([*counts, Answer("name", "en", 0, "", "A duck.", "A duck.", 1.0)])
    assert alone.kinds == ["count_thing"]
    assert alone.share() == Share(1.0, 2)


def test_without_evidence_an_answer_is_its_own_result():
    assert result_of("count_thing", "2") == "2"
    assert result_of("added", "A cat.") == "A cat."
    assert result_of("nearest", " A cat. ") == "A cat."
