"""A compiled step is the step: run in a process of its own, since shape checks break the compiler."""

import json
import subprocess
import sys

import pytest

from .conftest import TINY, merged

# As `train` does it: every stage is rehearsed, then it begins.
RUN = """
import json, sys, torch
from sightline.training.build import build
from sightline.training.preflight import preflight
from sightline.training.recipe import Recipe
from sightline.training.stage import StageRun
recipe = Recipe.model_validate(json.loads(sys.argv[1]))
model, processor = build(recipe)
runs = [StageRun(recipe, recipe.stages[0], model, processor, torch.device("cpu"), torch.float32) for _ in range(2)]
preflight(runs[0])
losses = [record["loss"] for record in runs[1].steps()]
frames = torch._dynamo.utils.counters["frames"]["ok"]
print(json.dumps({"losses": losses, "frames": frames}))
"""


@pytest.mark.slow
def test_compiled_steps_have_the_losses_of_eager_ones():
    eager, compiled = (outcome(compiled) for compiled in (False, True))
    assert eager["frames"] == 0 < compiled["frames"]
    assert eager["losses"] == pytest.approx(compiled["losses"], rel=1e-4)


def outcome(compiled):
    changes = {"model": {"overrides": {"dropout": 0.0}}, "train": {"compile": compiled}}
    recipe = json.dumps(merged(TINY, merged(changes, {"stages": [{"kind": "joint", "steps": 2}]})))
    done = subprocess.run([sys.executable, "-c", RUN, recipe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
