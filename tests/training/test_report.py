"""What a run leaves behind for people: one page with its curves, results, recipe, seeds and machine."""

import json

import torch

from sightline.data.readers import open_data
from sightline.data.readers.sides import Sides
from sightline.evaluation.examples import Example
from sightline.evaluation.judgement import Judgement
from sightline.evaluation.results import Answer, Results
from sightline.evaluation.tasks import PassedOver
from sightline.training.judging import Verdict
from sightline.training.report import write_report

RECIPE = "name: mine\ntrain:\n  seed: 41\n  batch_size: 4\nstages:\n- name: one\n  seed: 42\n"


def records():
    yield {"step": 1, "stage": "warm", "loss": float("nan"), "lr": 0.1, "seconds": 1800.0}
    for step in range(2, 200):
        yield {"step": step, "stage": "joint" if step > 90 else "warm", "loss": 5 / step, "lr": 0.1, "seconds": 18.0}


def test_the_report_holds_what_a_reader_asks_for(tmp_path):
    results = Results([Answer("name", "en", 0, "q", "t", "a", 1.0)])
    answers = [Example((), "What is this?", "A duck.", "A dog.", 0.0, "name", "en", before="Hm.")]
    path = write_report(
        tmp_path / "run",
        recipe_yaml=RECIPE,
        records=list(records()),
        verdict=Verdict(results=results, examples=answers),
        facts={"kWh": 3},
    )
    assert path == tmp_path / "run" / "report.html"
    text = path.read_text(encoding="utf-8")
    for part in ("100.0 % of 1 questions right", "A dog.", "batch_size: 4", torch.__version__, "kWh", "1:29:24"):
        assert part in text, part
    for place, seed in (("train.seed", 41), ("stages.0.seed", 42)):
        assert f"<dt>{place}</dt><dd>{seed}</dd>" in text
    assert text.count('class="curve"') == 2  # the loss and the learning rate; nothing else was logged
    assert text.count('class="mark"') == 4  # where each stage begins, in both


def judged(truth, metrics, **said):
    asked = [Answer("k", "", n, "q", truth, "Hm.", 0.0) for n in range(3)]
    return Verdict(judgement=Judgement(asked, [], [], []), metrics=metrics, **said)


def test_the_report_says_which_metric_decided_and_what_could_not_be_scored(tmp_path):
    rows = open_data(write_rows(tmp_path))
    verdict = judged(
        "cat", {"exact": 2, "anls": 1}, passed_over=PassedOver(4, "line 7 has no truth"), not_counted=PassedOver(1, "x")
    )
    page = write_report(tmp_path, recipe_yaml=RECIPE, records=[], verdict=verdict, sides=[Sides(rows, rows, "by hand")])
    text = page.read_text(encoding="utf-8")
    assert "2 answers: an answer is right where it is the truth in the same words (exact)." in text
    assert "1 answers: an answer is right where it is spelled like the truth" in text
    assert "<dt>held-out rows not asked</dt><dd>4 rows; the first: line 7 has no truth</dd>" in text
    assert "<dd>1 row; the first: x</dd>" in text
    assert "exact match takes no other words" not in text
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["metrics"] == {"exact": 2, "anls": 1}
    assert report["held_out_not_asked"] == {"rows": 4, "first": "line 7 has no truth"}
    assert report["not_in_majority"]["rows"] == 1


def test_the_report_says_beside_the_figures_how_many_pictures_held_out_were_nearly_learned_from(tmp_path):
    rows, verdict = open_data(write_rows(tmp_path)), judged("cat", {"exact": 3})
    for near, is_told in ((None, False), (0, False), (5, True)):
        sides = [Sides(rows, rows, "by hand", near_copies=near), Sides(rows, None, "none")]
        page = write_report(tmp_path, recipe_yaml=RECIPE, records=[], verdict=verdict, sides=sides)
        assert ("look like one that was learned from" in page.read_text(encoding="utf-8")) is is_told
    assert "5 of the pictures held out look like" in page.read_text(encoding="utf-8")


def test_the_report_says_that_exact_match_tells_little_of_sentences(tmp_path):
    sentence = "A grey heron stands in the water beside a boat."
    for metric, is_told in (("exact", True), ("anls", False)):
        verdict = judged(sentence, {metric: 3})
        page = write_report(tmp_path, recipe_yaml=RECIPE, records=[], verdict=verdict)
        assert ("exact match takes no other words" in page.read_text(encoding="utf-8")) is is_told


def write_rows(folder):
    path = folder / "rows.jsonl"
    path.write_text(json.dumps({"question": "Q", "answer": "A"}) + "\n")
    return path


def test_a_run_that_has_only_just_begun_has_a_report_too(tmp_path):
    text = write_report(tmp_path, recipe_yaml=RECIPE, records=[]).read_text(encoding="utf-8")
    assert "batch_size: 4" in text
    assert "<svg" not in text
