"""What the model answers while it learns: accuracy of a quick probe, and a few answers before and after.

The questions are the test world's, of a seed that no evaluation uses. What is done with the figures is the loop's
business.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from rich.console import Console

from sightline.data.scenes.world import World
from sightline.evaluation.examples import Example
from sightline.evaluation.probe import probe, probe_examples, side_by_side
from sightline.evaluation.results import Results
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.training.recipe import Recipe

__all__ = ["Looks"]

SEED = 7_777  # of the probes' world: what chooses a checkpoint must not be what it is judged by
SHOWN = 6  # on the console
EXAMPLES = 48  # in the report


class Looks:
    """Looks at one run's model, always with the same questions; `folder` keeps what it answered at first.

    Without a built-in world in the recipe there is nothing to ask.
    """

    def __init__(self, recipe: Recipe, model: VLM, processor: VLMProcessor, console: Console, folder: Path):
        self.per_kind = recipe.train.eval_per_kind
        self.model, self.processor, self.console = model, processor, console
        self.world = self._world(recipe) if self.per_kind else None
        self.results: Results | None = None
        self._first = folder / "first_answers.json"

    def _world(self, recipe: Recipe) -> World | None:
        source = recipe.data.world
        if source is None or source.weight == 0:
            return None
        side = self.model.config.vision_config.image_size
        return World(seed=SEED, split="test", things=source.things, languages=source.languages, image_size=side)

    def remember(self) -> None:
        """Keep what the model answers now as what it answered before it was trained."""
        answers = [one.answer for one in self._asked()]
        self._first.write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")

    def look(self, what: str) -> float | None:
        """Print accuracy and a few answers under the heading `what`; the share of right answers, if any was asked."""
        if self.world is None:
            return None
        kinds, languages = self.world.kinds, self.world.languages
        self.results = probe(self.model, self.processor, self.world, kinds, languages, self.per_kind)
        self.console.print(f"{what}: {self.results}", soft_wrap=True, highlight=False, markup=False)
        for line in side_by_side(self.examples()[:SHOWN]):
            self.console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
        return self.results.share().accuracy

    def examples(self) -> list[Example]:
        """Answers of now, each with the one from before the training."""
        first = json.loads(self._first.read_text(encoding="utf-8")) if self._first.exists() else []
        return [replace(one, before=before) for one, before in zip_longest(self._asked(), first)]

    def _asked(self) -> list[Example]:
        if self.world is None:
            return []
        world = self.world
        return probe_examples(self.model, self.processor, world, world.kinds, world.languages, EXAMPLES)
