"""A stage ends when held-out rows gain nothing more, with the weights of the best look, however it was interrupted."""

import io
import json
import shutil
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sightline.training import loop
from sightline.training.checkpoint import checkpoints
from sightline.training.looks import Look, Looks
from sightline.training.loop import Stopped, train
from sightline.training.recipe import EarlyStopping
from sightline.training.recipe_file import load_recipe
from sightline.training.stage import StageRun
from sightline.training.stopping import Stopping

from .colours import sections, write_colours
from .test_loop import stop_after

BESIDE = {"trainer.pt", "manifest.json"}


def quiet():
    return Console(file=io.StringIO(), width=200)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in BESIDE}


figures = st.lists(st.none() | st.sampled_from([-3.0, -2.0, -1.0]), min_size=1, max_size=12)


@given(figures, st.integers(1, 4))
def test_the_best_look_is_the_last_of_the_highest_and_patience_counts_from_the_first(scores, patience):
    stopping = Stopping(EarlyStopping(patience=patience))
    taken = []
    for step, score in enumerate(scores, start=1):
        if stopping.over:
            break
        stopping.take(step, score)
        taken.append(score)
    known = [score for score in taken if score is not None]
    if known:
        assert stopping.best_score == max(known)
        assert stopping.best_step == max(step for step, score in enumerate(taken, 1) if score == max(known))
        assert stopping.since == len(taken) - 1 - taken.index(max(known))
    else:
        assert (stopping.best_step, stopping.since) == (None, len(taken))
    again = Stopping(EarlyStopping(patience=patience))
    again.load_state_dict(stopping.state_dict())
    assert (again.over, str(again)) == (stopping.over, str(stopping))


def test_what_decides_is_the_loss_or_the_accuracy_and_never_what_is_not_finite():
    by_loss, by_accuracy = (Stopping(EarlyStopping(by=by)) for by in ("loss", "accuracy"))
    assert by_loss.score(2.0, 0.9) == -2.0
    assert by_accuracy.score(2.0, 0.9) == 0.9
    assert by_loss.score(float("nan"), 0.9) is None
    assert by_accuracy.score(2.0, None) is None


def test_best_weights_that_could_not_be_put_back_are_not_said_to_be_kept():
    stopping = Stopping(EarlyStopping(patience=1))
    stopping.take(1, -1.0)
    stopping.take(2, -2.0)
    stopping.is_put_back = False
    again = Stopping(EarlyStopping(patience=1))
    again.load_state_dict(stopping.state_dict())
    assert "best at step 1 (1.0000), whose weights are lost: the last ones are kept" in str(again)
    assert again.as_dict()["best_is_kept"] is False


@pytest.fixture
def scripted(monkeypatch):
    """Looks at held-out rows find the losses that are given, one a step."""

    def follow(*losses):
        def look(self, what):
            return Look(None, losses[int(what.rpartition(" ")[2]) - 1])

        monkeypatch.setattr(Looks, "look", look)

    return follow


@pytest.fixture
def rows(tmp_path):
    return write_colours(tmp_path, count=12, texts=0)


LOSSES = (3.0, 2.0, 2.5, 2.4, 1.0, 1.0)


@pytest.mark.parametrize("model", [{}, {"lora": {"rank": 2}}])
def test_the_model_is_the_best_checkpoint_byte_for_byte(make_recipe, rows, tmp_path, scripted, model):
    scripted(*LOSSES)
    kind = "instruct" if model else "joint"
    stages = [{"kind": kind, "steps": 6}]
    recipe = make_recipe(model=model, stages=stages, **sections(rows, keep_checkpoints=1))
    console = quiet()
    folder = train(recipe, tmp_path / "run", console=console)
    kept = {path.name: path for path in checkpoints(tmp_path / "run" / "checkpoints")}
    assert list(kept) == ["step-000002", "step-000004"]
    assert files(folder) == files(kept["step-000002"])
    told = f"{kind}: the loss on held-out rows was best at step 2 (2.0000), whose weights are kept; it stopped early at"
    assert f"{told} step 4, after 4 looks" in console.file.getvalue()
    report = json.loads((tmp_path / "run" / "report.json").read_text())["early_stopping"][kind]
    assert (report["best_step"], report["best"], report["last_step"], report["stopped_early"]) == (2, 2.0, 4, True)
    assert "whose weights are kept" in (tmp_path / "run" / "report.html").read_text()


def test_a_stage_that_never_gets_worse_ends_with_its_last_weights(make_recipe, rows, tmp_path, scripted):
    scripted(*range(9, 0, -1))
    recipe = make_recipe(stages=[{"kind": "joint", "steps": 4}], **sections(rows, eval_every=3))
    folder = train(recipe, tmp_path / "run", console=quiet())
    assert files(folder) == files(tmp_path / "run" / "checkpoints" / "step-000004")
    report = json.loads((tmp_path / "run" / "report.json").read_text())["early_stopping"]["joint"]
    assert (report["best_step"], report["looks"], report["stopped_early"]) == (4, 2, False)


def test_each_stage_stops_for_itself_and_the_next_goes_on_from_its_best(
    make_recipe, rows, tmp_path, scripted, monkeypatch
):
    scripted(3.0, 1.0, 2.0, 2.0, 9.0, 8.0, 8.5, 8.6)  # by the run's looks, not the stage's
    steps = iter(range(1, 9))
    original = Looks.look
    monkeypatch.setattr(Looks, "look", lambda self, what: original(self, f"step {next(steps)}"))
    stages = [{"kind": "align", "steps": 6}, {"kind": "joint", "steps": 6}]
    begun = []
    begin = StageRun.steps

    def seen(self):
        begun.append({name: weight.clone() for name, weight in self.model.state_dict().items()})
        yield from begin(self)

    monkeypatch.setattr(StageRun, "steps", seen)
    recipe = make_recipe(stages=stages, **sections(rows, keep_checkpoints=9))
    folder = train(recipe, tmp_path / "run", console=quiet())
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")][-1] == "step-000008"
    best = loop.VLM.from_pretrained(tmp_path / "run" / "checkpoints" / "step-000002", dtype=torch.float32).state_dict()
    assert all(torch.equal(best[name], weight) for name, weight in begun[1].items())
    assert files(folder) == files(tmp_path / "run" / "checkpoints" / "step-000006")


@pytest.mark.parametrize(("steps", "number"), [(2, signal.SIGTERM), (3, signal.SIGINT), (4, signal.SIGTERM)])
def test_a_stopped_run_takes_the_look_it_missed_and_ends_with_the_same_bits(
    make_recipe, rows, tmp_path, scripted, monkeypatch, steps, number
):
    scripted(*LOSSES)
    recipe = make_recipe(stages=[{"kind": "joint", "steps": 6}], **sections(rows))
    whole = files(train(recipe, tmp_path / "whole", console=quiet()))
    with monkeypatch.context() as patch:
        stop_after(patch, steps, number)
        with pytest.raises(Stopped, match=rf"step-00000{steps}"):
            train(recipe, tmp_path / "run", console=quiet())
    resumed = files(train(recipe, tmp_path / "run", resume=True, console=quiet()))
    assert resumed == whole
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "run")]
    assert [[(one["step"], one["loss"]) for one in map(json.loads, log)] for log in logs] == [
        [(one["step"], one["loss"]) for one in map(json.loads, logs[0])]
    ] * 2


def test_a_run_does_not_go_on_by_scores_of_another_scale(make_recipe, rows, tmp_path, scripted, monkeypatch):
    scripted(*LOSSES)
    shared = sections(rows, eval_per_kind=1)
    with monkeypatch.context() as patch:
        stop_after(patch, 2, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(make_recipe(stages=[{"kind": "joint", "steps": 6}], **shared), tmp_path / "run", console=quiet())
    other = sections(rows, eval_per_kind=1, early_stopping={"patience": 2, "by": "accuracy"})
    recipe = make_recipe(stages=[{"kind": "joint", "steps": 6}], **other)
    with pytest.raises(ValueError, match=r"has another stages\.joint\.train\.early_stopping\.by: give another --out"):
        train(recipe, tmp_path / "run", resume=True, console=quiet())


def test_a_run_stopped_in_its_very_last_step_still_looks_at_it(make_recipe, rows, tmp_path, scripted, monkeypatch):
    scripted(1.0, 2.0)
    recipe = make_recipe(stages=[{"kind": "joint", "steps": 2}], **sections(rows))
    whole = files(train(recipe, tmp_path / "whole", console=quiet()))
    with monkeypatch.context() as patch:
        stop_after(patch, 2, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "run", console=quiet())
    assert files(train(recipe, tmp_path / "run", resume=True, console=quiet())) == whole
    assert whole == files(tmp_path / "whole" / "checkpoints" / "step-000001")


def test_a_run_that_is_made_shorter_ends_with_the_best_of_what_it_has_seen(
    make_recipe, rows, tmp_path, scripted, monkeypatch
):
    scripted(*LOSSES)
    shared = sections(rows, keep_checkpoints=9, early_stopping={"patience": 9})
    with monkeypatch.context() as patch:
        stop_after(patch, 4, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(make_recipe(stages=[{"kind": "joint", "steps": 6}], **shared), tmp_path / "run", console=quiet())
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000004")  # the newest has been looked at then
    shorter = make_recipe(stages=[{"kind": "joint", "steps": 3}], **shared)
    folder = train(shorter, tmp_path / "run", resume=True, console=quiet())
    assert files(folder) == files(tmp_path / "run" / "checkpoints" / "step-000002")
    again = train(shorter, tmp_path / "run", resume=True, console=quiet())
    assert files(again) == files(folder)


def test_less_patience_ends_a_stage_with_the_best_of_what_it_has_seen(
    make_recipe, rows, tmp_path, scripted, monkeypatch
):
    scripted(*LOSSES)
    stages = [{"kind": "joint", "steps": 6}]
    patient = make_recipe(stages=stages, **sections(rows, keep_checkpoints=9, early_stopping={"patience": 9}))
    with monkeypatch.context() as patch:
        stop_after(patch, 5, signal.SIGTERM)  # after step 4 two looks were no better than the second
        with pytest.raises(Stopped):
            train(patient, tmp_path / "run", console=quiet())
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000005")
    hasty = make_recipe(stages=stages, **sections(rows, keep_checkpoints=9, early_stopping={"patience": 2}))
    for _ in range(2):
        folder = train(hasty, tmp_path / "run", resume=True, console=quiet())
        assert files(folder) == files(tmp_path / "run" / "checkpoints" / "step-000002")


def test_a_stage_that_has_its_best_weights_again_is_not_made_longer(make_recipe, rows, tmp_path, scripted):
    scripted(*LOSSES)
    shared = sections(rows, early_stopping={"patience": 9})
    train(make_recipe(stages=[{"kind": "joint", "steps": 3}], **shared), tmp_path / "run", console=quiet())
    longer = make_recipe(stages=[{"kind": "joint", "steps": 6}], **shared)
    with pytest.raises(
        ValueError, match="stage joint has ended with its weights of step 2, so it cannot be made longer"
    ):
        train(longer, tmp_path / "run", resume=True, console=quiet())
    assert load_recipe(tmp_path / "run" / "recipe.yaml").stages[0].steps == 3


def test_a_stage_made_longer_after_its_best_look_is_resumed_like_any_other(
    make_recipe, rows, tmp_path, scripted, monkeypatch
):
    scripted(3.0, 2.0, 2.5, 2.2, 1.0)
    shared = sections(rows, early_stopping={"patience": 9})
    train(make_recipe(stages=[{"kind": "joint", "steps": 2}], **shared), tmp_path / "run", console=quiet())
    longer = make_recipe(stages=[{"kind": "joint", "steps": 5}], **shared)
    with monkeypatch.context() as patch:
        stop_after(patch, 3, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(longer, tmp_path / "run", resume=True, console=quiet())
    folder = train(longer, tmp_path / "run", resume=True, console=quiet())
    assert files(folder) == files(tmp_path / "run" / "checkpoints" / "step-000005")


def test_accuracy_on_rows_that_cannot_be_scored_ends_no_stage(make_recipe, tmp_path):
    path = tmp_path / "rows.jsonl"
    told = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "3"}]
    path.write_text("".join(json.dumps({"messages": told, "answers": [n]}) + "\n" for n in range(60)))
    shared = sections(path, eval_per_kind=1, early_stopping={"patience": 1, "by": "accuracy"})
    console = quiet()
    train(make_recipe(stages=[{"kind": "instruct", "steps": 3}], **shared), tmp_path / "run", console=console)
    assert "warning: nothing is held out that could be judged, so no stage stops early" in console.file.getvalue()
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 3


def test_without_rows_to_hold_out_a_run_says_that_it_does_not_stop_early(make_recipe, tmp_path):
    recipe = make_recipe(
        stages=[{"kind": "joint", "steps": 2}], **sections(write_colours(tmp_path, count=2, texts=0), eval_per_kind=0)
    )
    console = quiet()
    train(recipe, tmp_path / "run", console=console)
    assert "these are too few pictures to hold some out" in console.file.getvalue()
    assert "warning: nothing is held out that could be judged, so no stage" in console.file.getvalue()


def test_the_report_asks_the_weights_that_were_put_back(make_recipe, tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for number in range(60):
            told = [{"role": "user", "content": f"How many, {number}?"}, {"role": "assistant", "content": "3"}]
            file.write(json.dumps({"messages": told, "answers": [number]}) + "\n")
    shared = sections(path, eval_per_kind=1)
    shared["data"]["world"] = {"things": 4, "weight": 0.25}
    looked, looks_at = [], Looks.look

    def look(self, what):
        found = looks_at(self, what)
        looked.append(what)
        return found._replace(loss=float(len(looked)))

    monkeypatch.setattr(Looks, "look", look)
    monkeypatch.setattr(Looks, "kinds", ("name",))
    train(make_recipe(stages=[{"kind": "instruct", "steps": 6}], **shared), tmp_path / "run", console=quiet())
    report = json.loads((tmp_path / "run" / "report.json").read_text())["early_stopping"]["instruct"]
    assert report["best_step"] < report["last_step"]
    assert looked[-1] == "at the end"
