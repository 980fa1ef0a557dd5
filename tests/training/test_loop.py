"""A run is reproducible, goes on where it stopped, overwrites nothing, and leaves folders that answer."""

import errno
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from rich.console import Console

import sightline
from sightline.sole_writer import LOCK
from sightline.training import checkpoint
from sightline.training.checkpoint import checkpoints
from sightline.training.journal import Journal
from sightline.training.looks import Looks
from sightline.training.loop import Stopped, train
from sightline.training.recipe_file import save_recipe
from sightline.training.stage import StageRun

FIVE = [
    {"kind": "tower", "steps": 3, "train": {"batch_size": 4}},
    {"kind": "language", "steps": 2},
    {"kind": "align", "samples": 4},
    {"kind": "instruct", "steps": 2, "train": {"ema": 0.9, "accumulate": 2}},
    {"kind": "joint", "steps": 3, "train": {"optimizer": "adamw", "schedule": "cosine"}},
]


def quiet():
    return Console(file=io.StringIO(), width=200)


def weights(folder):
    model, _ = sightline.load(folder, device="cpu", dtype="float32")
    return model.state_dict()


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def log_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def staged(make_recipe):
    return make_recipe(stages=FIVE)


@pytest.fixture(scope="module")
def finished(staged, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    console = quiet()
    return staged, out, train(staged, out, console=console), console.file.getvalue()


def stop_after(monkeypatch, steps, number):
    """Send the process a signal during the run's `steps`-th step."""
    original, taken = StageRun.take, []

    def take_and_signal(self, batches):
        taken.append(1)
        if len(taken) == steps:
            signal.raise_signal(number)
        return original(self, batches)

    monkeypatch.setattr(StageRun, "take", take_and_signal)


STOPS = [(2, signal.SIGINT), (3, signal.SIGTERM), (7, signal.SIGTERM), (8, signal.SIGINT), (11, signal.SIGINT)]


def test_a_run_stopped_in_each_stage_that_goes_on_ends_with_the_same_bits(finished, tmp_path, monkeypatch):
    recipe, _, model, _ = finished
    behind = 0
    for steps, number in STOPS:
        with monkeypatch.context() as patch:
            stop_after(patch, steps - behind, number)
            told = rf"stopped by {number.name}; saved .*step-0000{steps:02d}\. Go on with --resume"
            with pytest.raises(Stopped, match=told):
                train(recipe, tmp_path / "run", resume=behind > 0, console=quiet())
        behind = steps
    resumed = train(recipe, tmp_path / "run", resume=True, console=quiet())
    assert_same_bits(weights(resumed), weights(model))
    assert [record["step"] for record in log_of(tmp_path / "run")] == list(range(1, 13))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_finish_the_step(make_recipe, tmp_path, monkeypatch, number):
    recipe = make_recipe(train={"workers": 1}, stages=[{"kind": "align", "steps": 9}])
    original, taken = StageRun.take, []

    def take_and_signal(self, batches):
        taken.append(1)
        if len(taken) == 2:
            assert multiprocessing.active_children()
            for worker in multiprocessing.active_children():
                # From another process, as a terminal does it: torch takes a parent's own signal for an order.
                subprocess.run(["kill", f"-{int(number)}", str(worker.pid)], check=True)
            time.sleep(0.2)  # a dead worker would be noticed, by a signal of its own
            signal.raise_signal(number)
        return original(self, batches)

    monkeypatch.setattr(StageRun, "take", take_and_signal)
    with pytest.raises(Stopped, match=r"step-000002"):
        train(recipe, tmp_path / "run", console=quiet())


def test_every_step_is_logged_with_its_stage(finished):
    _, out, _, _ = finished
    records = log_of(out)
    assert [record["step"] for record in records] == list(range(1, 13))
    names = ["tower"] * 3 + ["language"] * 2 + ["align"] * 2 + ["instruct"] * 2 + ["joint"] * 3
    assert [record["stage"] for record in records] == names
    assert all(record["loss"] > 0 and record["tokens"] > 0 and record["seconds"] > 0 for record in records)
    assert list((out / "tensorboard").glob("events*"))


def test_the_preflight_of_every_stage_stands_before_the_first_step(finished):
    *_, printed = finished
    places = [printed.index(f"stage {stage['kind']}: {stage['kind']}") for stage in FIVE]
    assert places == sorted(places)
    assert "done: " in printed[places[-1] :]


def test_only_the_newest_checkpoints_are_kept(finished):
    _, out, _, _ = finished
    assert [path.name for path in checkpoints(out / "checkpoints")] == ["step-000010", "step-000012"]


def test_a_checkpoint_answers_with_the_trainers_logits(make_recipe, tmp_path, monkeypatch):
    recipe = make_recipe(stages=[{"kind": "joint", "steps": 2}])
    seen = {}
    original = StageRun.state_dict

    def remember(self):
        seen["model"] = self.model
        return original(self)

    monkeypatch.setattr(StageRun, "state_dict", remember)
    train(recipe, tmp_path / "run", console=quiet())
    model, processor = sightline.load(checkpoints(tmp_path / "run" / "checkpoints")[-1], device="cpu", dtype="float32")
    picture = {"type": "image", "image": Image.new("RGB", (40, 40), "red")}
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [picture, {"type": "text", "text": "hi"}]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert torch.equal(model(**inputs).logits, seen["model"].eval()(**inputs).logits)
    assert model.generate(**inputs, max_new_tokens=2).shape[1] > inputs["input_ids"].shape[1]


def test_an_averaged_stage_ends_with_the_average(make_recipe, tmp_path):
    stages = [{"kind": "align", "steps": 3, "train": {"ema": 0.5}}]
    recipe, plain = make_recipe(stages=stages), make_recipe(stages=[{"kind": "align", "steps": 3}])
    averaged = weights(train(recipe, tmp_path / "run", console=quiet()))
    state = torch.load(checkpoints(tmp_path / "run" / "checkpoints")[-1] / "trainer.pt", weights_only=True)
    for name, average in state["average"]["weights"].items():
        assert torch.equal(averaged[name], average)
    last = weights(train(plain, tmp_path / "plain", console=quiet()))
    assert any(not torch.equal(averaged[name], last[name]) for name in last)


def test_an_averaged_stage_that_is_made_longer_goes_on_from_its_weights(make_recipe, tmp_path):
    stages = [{"kind": "align", "steps": 4, "train": {"ema": 0.5, "schedule": "constant"}}]
    whole = weights(train(make_recipe(stages=stages), tmp_path / "whole", console=quiet()))
    shorter = make_recipe(stages=[{**stages[0], "steps": 2}])
    train(shorter, tmp_path / "run", console=quiet())
    resumed = train(make_recipe(stages=stages), tmp_path / "run", resume=True, console=quiet())
    assert_same_bits(weights(resumed), whole)


def test_an_averaged_stage_that_is_made_shorter_ends_with_its_average(make_recipe, tmp_path, monkeypatch):
    stages = [{"kind": "align", "steps": 4, "train": {"ema": 0.5, "schedule": "constant"}}]
    shorter = make_recipe(stages=[{**stages[0], "steps": 2}])
    whole = weights(train(shorter, tmp_path / "whole", console=quiet()))
    with monkeypatch.context() as patch:
        stop_after(patch, 2, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(make_recipe(stages=stages), tmp_path / "run", console=quiet())
    resumed = train(shorter, tmp_path / "run", resume=True, console=quiet())
    assert_same_bits(weights(resumed), whole)


def test_a_run_does_not_go_on_with_a_changed_file(make_recipe, tmp_path, monkeypatch):
    row = {"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    data = {"world": {"weight": 0}, "files": [{"path": str(file)}]}
    recipe = make_recipe(data=data, stages=[{"kind": "instruct", "steps": 3}])
    with monkeypatch.context() as patch:
        stop_after(patch, 1, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "run", console=quiet())
    file.write_text(json.dumps(row) * 2 + "\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl has changed since the run began: put it back"):
        train(recipe, tmp_path / "run", resume=True, console=quiet())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk here that is always full")
def test_a_log_for_which_there_is_no_room_says_how_to_go_on(tmp_path):
    journal = Journal(tmp_path, 0)
    journal._file.close()
    journal._file = open("/dev/full", "w")  # noqa: SIM115 - it is the journal's to close
    said = r"log\.jsonl could not be written: No space left .*; mend that and go on with --resume"
    with pytest.raises(OSError, match=said), journal:
        journal.write({"step": 1})


def test_a_file_that_changes_between_two_stages_ends_the_run(make_recipe, tmp_path, monkeypatch):
    row = {"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    data = {"world": {"weight": 0}, "files": [{"path": str(file)}]}
    stages = [{"kind": "instruct", "steps": 1}, {"kind": "instruct", "name": "again", "steps": 1}]
    take = StageRun.end

    def grow(run):
        with file.open("a") as grown:
            grown.write(json.dumps(row) + "\n")
        take(run)

    monkeypatch.setattr(StageRun, "end", grow)
    with pytest.raises(ValueError, match=r"rows\.jsonl has changed since the run began: put it back"):
        train(make_recipe(data=data, stages=stages), tmp_path / "run", console=quiet())


def test_a_run_with_adapters_goes_on_bit_for_bit_and_leaves_a_plain_model(make_recipe, tmp_path, monkeypatch):
    recipe = make_recipe(model={"lora": {"rank": 2}}, stages=[{"kind": "instruct", "steps": 3}])
    model = train(recipe, tmp_path / "whole", console=quiet())
    with monkeypatch.context() as patch:
        stop_after(patch, 1, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "run", console=quiet())
    resumed = train(recipe, tmp_path / "run", resume=True, console=quiet())
    assert_same_bits(weights(resumed), weights(model))
    assert not any("lora" in name for name in weights(model))
    (tmp_path / "run" / "base" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"base/config\.json is damaged"):
        train(recipe, tmp_path / "run", resume=True, console=quiet())


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(finished, tmp_path):
    recipe, out, model, _ = finished
    shutil.copytree(out, tmp_path / "run")
    newest = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    (newest / "trainer.pt").write_bytes(b"not what was saved")
    console = quiet()
    resumed = train(recipe, tmp_path / "run", resume=True, console=console)
    assert "warning: " in console.file.getvalue()
    assert newest.name in console.file.getvalue()
    assert_same_bits(weights(resumed), weights(model))


def test_a_run_whose_checkpoints_are_all_damaged_says_where_to_go(finished, tmp_path):
    recipe, out, *_ = finished
    shutil.copytree(out / "checkpoints", tmp_path / "run" / "checkpoints")
    for folder in checkpoints(tmp_path / "run" / "checkpoints"):
        (folder / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no whole checkpoint to resume in .*: give another --out"):
        train(recipe, tmp_path / "run", resume=True, console=quiet())


def test_a_full_disk_at_the_end_leaves_a_run_that_can_be_finished(make_recipe, tmp_path, monkeypatch):
    recipe = make_recipe(stages=[{"kind": "align", "steps": 1}])

    seal = checkpoint._seal  # of a checkpoint it has facts to tell, of the model at the end none

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_seal", lambda folder, facts: seal(folder, facts) if facts else full())
        with pytest.raises(OSError, match=r"could not write .*model: No space left on device; free some room"):
            train(recipe, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run" / "model").exists()
    assert train(recipe, tmp_path / "run", resume=True, console=quiet()).is_dir()


def test_a_folder_with_a_run_is_never_overwritten(finished):
    recipe, out, *_ = finished
    with pytest.raises(FileExistsError, match=r"--resume"):
        train(recipe, out, console=quiet())


def test_resuming_nothing_is_an_error(recipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no whole checkpoint to resume"):
        train(recipe, tmp_path / "empty", resume=True, console=quiet())
    assert not (tmp_path / "empty").exists()


HOLD = """
import pathlib, sys
from sightline.sole_writer import sole_writer
with sole_writer(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_in_one_folder_are_one_too_many(finished, tmp_path, resume):
    pytest.importorskip("fcntl", reason="this system has no such locks")
    recipe, out, *_ = finished
    folder = tmp_path / "run"
    shutil.copytree(out, folder) if resume else folder.mkdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != LOCK}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(FileExistsError, match=r"another process is writing .*: wait for it"):
            train(recipe, folder, resume=resume, console=quiet())
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != LOCK} == before
        other.stdin.close()


def test_a_few_steps_lower_the_loss(make_recipe, tmp_path):
    recipe = make_recipe(train={"batch_size": 8, "checkpoint_every": 100}, stages=[{"kind": "joint", "steps": 45}])
    train(recipe, tmp_path / "run", console=quiet())
    losses = [record["loss"] for record in log_of(tmp_path / "run")]
    assert sum(losses[-3:]) / 3 < 0.85 * losses[0]


def test_resuming_another_run_is_refused_and_a_longer_one_is_not(finished, make_recipe, tmp_path):
    _, out, *_ = finished
    shutil.copytree(out, tmp_path / "run")
    other = make_recipe(stages=FIVE, data={"world": {"things": 3}})
    with pytest.raises(ValueError, match=r"the run to resume has another data: give another --out"):
        train(other, tmp_path / "run", resume=True, console=quiet())
    name, before = FIVE[0]["kind"], {**FIVE[0], "steps": FIVE[0]["steps"] + 1, "train": {"batch_size": 4, "lr": 0.5}}
    with pytest.raises(
        ValueError, match=rf"is past stage {name}: leave its steps and train as in the run's recipe\.yaml"
    ):
        train(make_recipe(stages=[before, *FIVE[1:]]), tmp_path / "run", resume=True, console=quiet())
    longer = make_recipe(stages=[*FIVE[:4], {**FIVE[4], "steps": 5}])
    console = quiet()
    train(longer, tmp_path / "run", resume=True, console=console)
    assert re.search(r"changed: stages\.\w+\.steps: 5, before 3", console.file.getvalue())
    assert [record["step"] for record in log_of(tmp_path / "run")] == list(range(1, 15))


def test_a_run_that_ended_before_its_first_checkpoint_can_begin_anew(make_recipe, tmp_path):
    recipe = make_recipe(stages=[{"kind": "align", "steps": 1}])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text('{"step": 1}\n{"ste')
    for left in ("base.old", ".dropping-base.old"):
        (tmp_path / "run" / left).mkdir()
    save_recipe(recipe, tmp_path / "run" / "recipe.yaml")
    assert train(recipe, tmp_path / "run", console=quiet()).is_dir()
    assert [record["step"] for record in log_of(tmp_path / "run")] == [1]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not empty"):
        train(recipe, tmp_path / "elsewhere", console=quiet())


@pytest.mark.parametrize("name", ["recipe.yaml", "base", "log.jsonl"])
def test_what_is_called_as_a_runs_files_and_is_none_is_left_alone(make_recipe, tmp_path, name):
    own = tmp_path / "mine" / name
    own.parent.mkdir()
    own.write_text("name: mine # by hand")
    with pytest.raises(FileExistsError, match=r"is not empty"):
        train(make_recipe(), tmp_path / "mine", console=quiet())
    assert own.read_text() == "name: mine # by hand"


def test_a_stage_that_does_not_pass_the_preflight_can_be_changed_and_tried_again(make_recipe, tmp_path):
    first = {"kind": "align", "steps": 1}
    train(make_recipe(stages=[first]), tmp_path / "run", console=quiet())
    longer = make_recipe(stages=[first, {"kind": "joint", "steps": 1, "train": {"max_length": 4}}])
    with pytest.raises(ValueError, match=r"max_length 4"):
        train(longer, tmp_path / "run", resume=True, console=quiet())
    train(make_recipe(stages=[first, {"kind": "joint", "steps": 1}]), tmp_path / "run", resume=True, console=quiet())
    assert len(log_of(tmp_path / "run")) == 2


def test_a_last_stage_of_regions_is_looked_at_for_the_report(make_recipe, tmp_path, monkeypatch):
    looks = []
    look = Looks.look
    monkeypatch.setattr(Looks, "look", lambda self, what: looks.append(what) or look(self, what))
    stages = [{"kind": "joint", "steps": 1}, {"kind": "tower", "steps": 1, "objective": "words"}]
    recipe = make_recipe(stages=stages, train={"eval_per_kind": 1}, data={"world": {"languages": ["en"]}})
    train(recipe, tmp_path / "run", console=quiet())
    assert looks == ["joint, step 1", "at the end"]


def test_evaluations_are_printed_logged_and_reported_and_the_best_checkpoint_is_kept(make_recipe, tmp_path):
    train_section = {"eval_per_kind": 1, "eval_every": 2, "keep_checkpoints": 1}
    recipe = make_recipe(
        train=train_section, stages=[{"kind": "joint", "steps": 5}], data={"world": {"languages": ["en"]}}
    )
    console = quiet()
    train(recipe, tmp_path / "run", console=console)
    printed = console.file.getvalue()
    assert all(f"joint, step {step}: " in printed for step in (2, 4, 5))
    assert "(before: " in printed
    scores = {record["step"]: record["accuracy"] for record in log_of(tmp_path / "run") if "accuracy" in record}
    assert list(scores) == [2, 4, 5]
    best = max(scores, key=lambda step: (scores[step], step))
    kept = {path.name for path in checkpoints(tmp_path / "run" / "checkpoints")}
    assert kept == {f"step-00000{step}" for step in {best, 5}}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "data:image/" in page
    again = quiet()
    train(recipe, tmp_path / "run", resume=True, console=again)
    assert "at the end: " in again.file.getvalue()
    assert "Accuracy" in (tmp_path / "run" / "report.html").read_text()
    assert "questions: 3" in page


def test_a_probe_takes_nothing_from_the_run(make_recipe, tmp_path):
    stages = [{"kind": "joint", "steps": 3}]
    probed = make_recipe(
        stages=stages, train={"eval_per_kind": 1, "eval_every": 1}, data={"world": {"languages": ["en"]}}
    )
    plain = make_recipe(stages=stages, data={"world": {"languages": ["en"]}})
    one = train(plain, tmp_path / "unlooked", console=quiet())
    assert_same_bits(weights(one), weights(train(probed, tmp_path / "looked", console=quiet())))


def test_a_run_whose_loss_runs_away_keeps_its_checkpoints_and_goes_on_from_the_last(make_recipe, tmp_path, monkeypatch):
    recipe = make_recipe(stages=[{"kind": "joint", "steps": 6}], train={"checkpoint_every": 2})
    whole = weights(train(recipe, tmp_path / "whole", console=quiet()))
    original, taken = StageRun._backward, []

    def runs_away(self, micro_batches):
        found = original(self, micro_batches)
        taken.append(self.step)
        return found._replace(loss=float("nan")) if self.step == 4 and taken.count(4) == 1 else found

    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "_backward", runs_away)
        with pytest.raises(
            FloatingPointError, match=r"the loss is nan .* step 5 \(rows: .*; --resume goes on from step-000004"
        ):
            train(recipe, tmp_path / "run", console=quiet())
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")][-1] == "step-000004"
    assert_same_bits(weights(train(recipe, tmp_path / "run", resume=True, console=quiet())), whole)


def test_what_a_stage_shows_while_it_runs(make_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("sightline.training.progress.peak_flops", lambda device, dtype: 1e9)
    console = Console(file=io.StringIO(), width=240, force_terminal=True)
    train(make_recipe(stages=[{"kind": "joint", "steps": 2}]), tmp_path / "run", console=console)
    shown = console.file.getvalue()
    assert re.search(
        r"joint .*100%.* step 2  loss \d+\.\d{3}  lr \d\.\d\de-\d\d  [\d,]+ tokens/s  [\d.]+ pictures/s  "
        r"\d+% of peak  data \d+%  [\d.]+ GiB",
        re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown),
    )
