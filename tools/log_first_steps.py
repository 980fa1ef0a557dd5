"""Take the first steps of shipped recipes and keep the logs that `sightline train RECIPE --verify N` compares with.

    python tools/log_first_steps.py tiny 48 tiny-moe 24

To be run again whenever a recipe's first stage, the world's texts or the pinned versions change. A log's first line
says what it was made with. The number of threads decides the last bits.
"""

import json
import sys
from pathlib import Path

from sightline.training.recipe_file import load_recipe
from sightline.training.verify import first_steps, log_of, made_with

RECIPES = Path(__file__).parents[1] / "recipes"


def main(words: list[str]) -> None:
    for name, steps in zip(words[::2], words[1::2], strict=True):
        path = RECIPES / f"{name}.yaml"
        recipe = load_recipe(path)
        records = first_steps(recipe, int(steps))
        lines = [{"step": step, **record} for step, record in enumerate(records, start=1)]
        lines[0]["environment"] = made_with(recipe)
        log_of(path).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        print(f"{name}: loss {records[0]['loss']:.3f} at first, {records[-1]['loss']:.3f} after {steps} steps")


if __name__ == "__main__":
    main(sys.argv[1:])
