"""The first steps of a run are those that `--verify` takes, whatever a stage ends with."""

import io
import json
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from sightline.training import journal, memory
from sightline.training.journal import Journal
from sightline.training.loop import train
from sightline.training.recipe_file import load_recipe
from sightline.training.shipped import find_recipe
from sightline.training.verify import first_steps, log_of, made_with, verify


def test_a_stage_that_ends_with_an_average_hands_it_on(make_recipe, tmp_path):
    stages = [{"kind": "align", "steps": 2, "train": {"ema": 0.5}}, {"kind": "joint", "steps": 2}]
    recipe = make_recipe(stages=stages)
    train(recipe, tmp_path / "run", console=Console(file=io.StringIO()))
    found = verify(recipe, tmp_path / "run" / "log.jsonl", 4)
    assert found.same_bits


def test_no_more_steps_than_the_recipe_has_can_be_verified(make_recipe, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": n, "loss": 1.0}) + "\n" for n in range(1, 9)))
    recipe = make_recipe(stages=[{"kind": "align", "steps": 1}, {"kind": "joint", "steps": 1}])
    with pytest.raises(ValueError, match="the recipe ends after 2 steps: verify at most so many, not 5"):
        verify(recipe, log, 5)
    with pytest.raises(ValueError, match="holds the first 8 steps: verify at most so many, not 9"):
        verify(recipe, log, 9)


def test_a_recipe_without_a_log_says_so(make_recipe):
    log = log_of(find_recipe("finetune"))
    with pytest.raises(FileNotFoundError, match=r"no log ships with this recipe: there is none at .*finetune\.log"):
        verify(make_recipe(), log, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "tiny-moe"])
def test_a_recipe_reproduces_the_log_that_ships_with_it(name):
    path = find_recipe(name)
    assert verify(load_recipe(path), log_of(path), 2).reproduces


def test_what_a_step_says_of_each_layer_is_drawn_layer_by_layer(tmp_path, monkeypatch):
    drawn = []
    board = SimpleNamespace(add_scalar=lambda *given: drawn.append(given), close=lambda: None)
    monkeypatch.setattr("sightline.training.journal._board", lambda folder, step: board)
    with Journal(tmp_path, 0) as journal:
        journal.write({"step": 1, "stage": "joint", "loss": 2.0, "text_entropy": [0.5, 0.25]})
    assert drawn == [("loss", 2.0, 1), ("text_entropy/0", 0.5, 1), ("text_entropy/1", 0.25, 1)]


def test_a_run_without_tensorboard_says_so_and_logs_all_the_same(make_recipe, tmp_path, monkeypatch):
    recipe = make_recipe(stages=[{"kind": "align", "steps": 1}])
    monkeypatch.setattr(journal, "find_spec", lambda name: None)
    console = Console(file=io.StringIO(), width=200)
    train(recipe, tmp_path / "run", console=console)
    told = "log.jsonl alone has the curves: TensorBoard, which draws them, is not installed"
    assert console.file.getvalue().count(told) == 1
    assert not (tmp_path / "run" / "tensorboard").exists()
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 1


def test_of_a_gpu_that_others_use_only_what_they_leave_is_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3_000, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    assert memory.memory_limit(torch.device("cuda")) == 3_500


def test_a_log_says_in_what_its_set_up_was_another(make_recipe, tmp_path):
    recipe = make_recipe(stages=[{"kind": "align", "steps": 1}, {"kind": "joint", "steps": 1}])
    records = first_steps(recipe, 2)
    assert [(record["stage"], record["stage_step"]) for record in records] == [("align", 1), ("joint", 1)]
    log = tmp_path / "log.jsonl"
    for then, differing in [
        ({}, {}),
        (made_with(recipe), {}),
        ({**made_with(recipe), "torch": "1.0", "gpu": "H100"}, {"torch 1.0", "gpu H100 (here none)"}),
    ]:
        records[0]["environment"] = then
        log.write_text("".join(json.dumps(record) + "\n" for record in records))
        found = verify(recipe, log, 1)
        assert len(found.differing) == len(differing if then else made_with(recipe))
        assert all(any(told.startswith(one) for told in found.differing) for one in differing)
    assert {"torch", "threads", "device", "dtype"} <= made_with(recipe).keys()


@pytest.mark.parametrize("name", ["tiny", "tiny-moe"])
def test_a_log_that_ships_says_what_it_was_made_with(name):
    first, *others = journal.read_log(log_of(find_recipe(name)))
    assert {"python", "torch", "transformers", "processor", "threads"} <= first["environment"].keys()
    assert all("environment" not in record for record in others)
    assert others[-1]["loss"] < first["loss"]
