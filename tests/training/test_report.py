"""What a run leaves behind for people: one page with its curves, results, recipe, seeds and machine."""

import torch

from sightline.evaluation.examples import Example
from sightline.evaluation.results import Answer, Results
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


def test_a_run_that_has_only_just_begun_has_a_report_too(tmp_path):
    text = write_report(tmp_path, recipe_yaml=RECIPE, records=[]).read_text(encoding="utf-8")
    assert "batch_size: 4" in text
    assert "<svg" not in text
