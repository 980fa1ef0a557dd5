"""A compiled step is the step: run in a process of its own, since shape checks break the compiler."""

import json
import subprocess
import sys

import pytest

from .conftest import TINY, merged

RUN = """
import json, sys
from sightline.training.recipe import Recipe
from sightline.training.verify import first_steps
print(json.dumps([record["loss"] for record in first_steps(Recipe.model_validate(json.loads(sys.argv[1])), 2)]))
"""


@pytest.mark.slow
def test_compiled_steps_have_the_losses_of_eager_ones():
    losses = []
    for compiled in (False, True):
        changes = {"model": {"overrides": {"dropout": 0.0}}, "train": {"compile": compiled}}
        recipe = json.dumps(merged(TINY, changes))
        done = subprocess.run([sys.executable, "-c", RUN, recipe], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        losses.append(json.loads(done.stdout.splitlines()[-1]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
