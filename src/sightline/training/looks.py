"""What the model answers while it learns: accuracy of a quick probe, and a few answers before and after.

The questions are the test world's, of a seed that no evaluation uses; a recipe without the world has only its own
rows to ask, and the figures say so. What is done with them is the loop's business.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from sightline.data.scenes.world import World
from sightline.evaluation.examples import Example, example
from sightline.evaluation.probe import ask, probe, probe_examples, side_by_side, with_before
from sightline.evaluation.results import Results
from sightline.evaluation.tasks import Tasks, first_rows
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.training.recipe import Recipe
from sightline.training.sources import open_rows
from sightline.whole_file import write_whole

__all__ = ["Looks"]

SEED = 7_777  # of the probes' world: what chooses a checkpoint must not be what it is judged by
SHOWN = 6  # on the console
EXAMPLES = 48  # in the report
ROWS = 4  # of a file, for each question a kind that the recipe asks of the world


class Looks:
    """Looks at one run's model, always with the same questions; `folder` keeps what it answered at first.

    Raises:
        FileNotFoundError, ValueError: the file whose first rows would be asked cannot be read.
    """

    def __init__(self, recipe: Recipe, model: VLM, processor: VLMProcessor, console: Console, folder: Path):
        self.per_kind = recipe.train.eval_per_kind
        self.model, self.processor, self.console = model, processor, console
        self.world = self._world(recipe) if self.per_kind else None
        self.rows = self._rows(recipe) if self.per_kind and self.world is None else None
        self.results: Results | None = None
        self._first = folder / "first_answers.json"

    def _world(self, recipe: Recipe) -> World | None:
        source = recipe.data.world
        if source is None or source.weight == 0:
            return None
        side = self.model.config.vision_config.image_size
        return World(seed=SEED, split="test", things=source.things, languages=source.languages, image_size=side)

    def _rows(self, recipe: Recipe) -> Tasks | None:
        """The first rows of the file that the last stage with one reads first."""
        files = [file for stage in reversed(recipe.stages) for file in recipe.data_of(stage).files]
        if not files:
            return None
        rows, count = open_rows(files[0]), ROWS * self.per_kind
        tasks = first_rows(rows, count)
        if not tasks.keys:
            self._say(f"none of the first {count} rows of {rows.path} asks anything: there is no evaluation")
        return tasks if tasks.keys else None

    def remember(self) -> None:
        """Keep what the model answers now as what it answered before it was trained."""
        answers = [one.answer for one in self._asked()]
        write_whole(self._first, json.dumps(answers, ensure_ascii=False))

    def look(self, what: str) -> float | None:
        """Print accuracy and a few answers under the heading `what`; the share of right answers, if any was asked.

        Where the run's own rows are asked, it tells how well the model has learned them by heart, not what it can.
        """
        if self.world is not None:
            kinds, languages = self.world.kinds, self.world.languages
            self.results = probe(self.model, self.processor, self.world, kinds, languages, self.per_kind)
        elif self.rows is not None:
            asked = ask(self.model, self.processor, self.rows)
            self.results = Results((answer for _, answer in asked), "on rows it trains on: fit, not skill")
        else:
            return None
        self._say(f"{what}: {self.results}")
        for line in side_by_side(self.examples()[:SHOWN]):
            self._say(f"  {line}")
        return self.results.share().accuracy

    def examples(self) -> list[Example]:
        """Answers of now, each with the one from before the training."""
        first = json.loads(self._first.read_text(encoding="utf-8")) if self._first.exists() else []
        return with_before(self._asked(), first)

    def _asked(self) -> list[Example]:
        if self.rows is not None:
            return [example(*pair) for pair in ask(self.model, self.processor, self.rows)]
        if self.world is None:
            return []
        world = self.world
        return probe_examples(self.model, self.processor, world, world.kinds, world.languages, EXAMPLES)

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
