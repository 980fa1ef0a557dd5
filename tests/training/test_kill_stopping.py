"""Killed by SIGKILL anywhere, a run that stops early stops where one would that was never touched, and is the same."""

import random

import pytest

from sightline.training.checkpoint import newest_good

from .colours import sections, write_colours
from .test_kill import Runs, assert_same_run, at_any_time, in_a_step, losses, while_a_checkpoint_is_written

# Losses that rise again: what is learned from four pictures is soon known by heart.
LEARNING = {"lr": 0.02, "optimizer": "adamw", "schedule": "constant", "checkpoint_every": 2, "eval_per_kind": 0}
STEPS = 40


@pytest.fixture(scope="module")
def runs(make_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    given = sections(write_colours(folder, count=12, texts=0), **LEARNING)
    tokenizer = {"vocab_size": 512, "texts": 50}
    runs = Runs(make_recipe(tokenizer=tokenizer, stages=[{"kind": "joint", "steps": STEPS}], **given), folder)
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, runs(out)


def test_it_stops_early(whole):
    assert 3 < len(losses(whole[0])) < STEPS


CASES = [(while_a_checkpoint_is_written, in_a_step), *[(at_any_time, in_a_step)] * 6]


@pytest.mark.parametrize(
    ("seed", "moments"), [pytest.param(n, one, marks=[pytest.mark.slow] if n else []) for n, one in enumerate(CASES)]
)
def test_killed_it_goes_on_to_the_same_stop_with_the_same_bits(runs, whole, tmp_path, seed, moments):
    draw, out = random.Random(seed), tmp_path / "run"
    assert "killed" in [runs(out, moment(draw, whole[1]))["ended"] for moment in moments]
    assert newest_good(out / "checkpoints", pytest.fail) is not None or seed
    runs(out)
    assert_same_run(out, whole[0])
    assert (out / "model" / "model.safetensors").is_file()
