"""Killed by SIGKILL anywhere, a run goes on and ends with the bits of one that was never touched."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.training.checkpoint import newest_good

RUN = {
    "tokenizer": {"vocab_size": 512, "texts": 50},
    "train": {"checkpoint_every": 1},
    "stages": [{"kind": "tower", "steps": 2}, {"kind": "joint", "steps": 3, "train": {"ema": 0.5}}],
}


class Runs:
    """The process that runs and kills, see `runs_to_kill.py`."""

    def __init__(self, recipe, folder):
        (folder / "recipe.json").write_text(recipe.model_dump_json())
        self.errors = (folder / "errors.txt").open("w+")
        command = [sys.executable, str(Path(__file__).with_name("runs_to_kill.py")), str(folder / "recipe.json")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.errors, text=True)

    def __call__(self, out, kill=None):
        """Start a run anew where it has no checkpoint, else resume it; `kill` says when it dies."""
        resume = newest_good(out / "checkpoints", pytest.fail) is not None
        print(json.dumps({"out": str(out), "resume": resume, "kill": kill}), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline() or '{"ended": "failed"}')
        self.errors.seek(0)
        assert answer["ended"] != "failed", self.errors.read()
        return answer

    def close(self):
        self.process.communicate()
        self.errors.close()


@pytest.fixture(scope="module")
def runs(make_recipe, tmp_path_factory):
    runs = Runs(make_recipe(**RUN), tmp_path_factory.mktemp("runs"))
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """The run that nobody touched, and how long it took in seconds and operations."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, runs(out)


def files(folder):
    names = {path.name for path in folder.iterdir()}
    assert any(name.endswith(".safetensors") for name in names)
    return {name: (folder / name).read_bytes() for name in names}


def losses(out):
    records = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [(record["step"], record["loss"]) for record in records]


def assert_same_run(out, whole):
    assert files(out / "model") == files(whole / "model")
    assert losses(out) == losses(whole)


def first_checkpoint(operations):
    return next(number for number, text in enumerate(operations, 1) if text.startswith("os.rename") and "step-" in text)


def before_the_first_checkpoint(draw, answer):
    return {"operation": draw.randint(1, first_checkpoint(answer["operations"]))}


def at_any_change_of_a_file(draw, answer):
    return {"operation": draw.randint(1, len(answer["operations"]))}


def at_any_time(draw, answer):
    return {"after": draw.uniform(0, 0.7 * answer["seconds"])}  # the first run, which is measured, takes the longest


# The fourth and fifth are within the second stage, where the random numbers matter (dropout).
def while_a_checkpoint_is_written(draw, _):
    return {"seen": f"checkpoints/.writing-step-{draw.randint(4, 5):06d}", "after": draw.uniform(0, 0.03)}


def in_a_step(draw, _):
    return {"seen": f"checkpoints/step-{draw.randint(1, 5):06d}", "after": draw.uniform(0, 0.05)}


def at_the_end(draw, _):
    return {"seen": "model", "after": draw.uniform(0, 0.02)}


QUICK = [(before_the_first_checkpoint, at_any_time), (while_a_checkpoint_is_written, in_a_step)]
SLOW = [
    (before_the_first_checkpoint, before_the_first_checkpoint, at_any_time),
    (at_the_end, at_the_end),
    *[(at_any_change_of_a_file, at_any_time), (at_any_time, while_a_checkpoint_is_written, in_a_step)] * 4,
]


@pytest.mark.parametrize(
    ("seed", "moments"),
    [
        *enumerate(QUICK),
        *(pytest.param(seed, moments, marks=pytest.mark.slow) for seed, moments in enumerate(SLOW, start=len(QUICK))),
    ],
)
def test_a_killed_run_ends_with_the_bits_of_an_untouched_one(runs, whole, tmp_path, seed, moments):
    draw, out, ended = random.Random(seed), tmp_path / "run", []
    for moment in moments:
        kill = moment(draw, whole[1])
        ended.append(runs(out, kill)["ended"])
        found = newest_good(out / "checkpoints", pytest.fail)
        print(f"seed {seed}, {moment.__name__}, {kill}: {ended[-1]}, goes on from {found and found.name}")
        assert found is None or moment is not before_the_first_checkpoint
    assert "killed" in ended
    runs(out)
    assert_same_run(out, whole[0])


@pytest.mark.slow
def test_a_run_with_a_worker_and_accumulation_ends_with_the_bits_of_an_untouched_one(make_recipe, tmp_path):
    parallel = {**RUN, "train": {"checkpoint_every": 1, "workers": 1, "accumulate": 2, "batch_size": 4}}
    parallel["stages"] = [{"kind": "tower", "steps": 2, "train": {"accumulate": 1}}, RUN["stages"][1]]
    runs = Runs(make_recipe(**parallel), tmp_path)
    try:
        runs(tmp_path / "whole")
        out, draw = tmp_path / "run", random.Random(7)
        ended = [runs(out, moment(draw, None))["ended"] for moment in (while_a_checkpoint_is_written, in_a_step)]
        assert "killed" in ended
        runs(out)
        assert_same_run(out, tmp_path / "whole")
    finally:
        runs.close()


def test_a_run_killed_again_and_again_as_it_resumes_still_goes_on(runs, whole, tmp_path):
    out = tmp_path / "run"
    runs(out, {"seen": "checkpoints/step-000004", "after": 0})
    for number in range(1, 6):
        assert runs(out, {"operation": number})["ended"] == "killed"
    runs(out)
    assert_same_run(out, whole[0])


@pytest.mark.slow
def test_killed_at_any_change_of_a_file_a_run_ends_with_the_same_bits(runs, whole, tmp_path):
    count = len(whole[1]["operations"])
    # Steps of 7 meet each change that a checkpoint makes, in one checkpoint or another.
    for number in range(1, count + 1, 7):
        out = tmp_path / f"{number:03d}"
        assert runs(out, {"operation": number})["ended"] == "killed"
        runs(out)
        assert_same_run(out, whole[0])
