"""What the model makes of questions while it learns: accuracy, loss on held-out rows, and answers before and after.

Rows that are held out are asked where there are any, else the first rows that it trains on, and then the figures say
so; in a run without files, the test world's questions, of a seed that no evaluation uses. What is done with them is the
loop's business.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from sightline.data.readers import Data
from sightline.data.scenes.questions import KINDS
from sightline.data.scenes.world import World
from sightline.evaluation.examples import Example, example
from sightline.evaluation.probe import ask, probe, probe_examples, side_by_side, with_before
from sightline.evaluation.results import Answer, Results
from sightline.evaluation.row_tasks import held_out_tasks
from sightline.evaluation.tasks import Key, PassedOver, Question, Tasks, first_rows, scene_tasks
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.training.held_out_loss import HeldOutLoss
from sightline.training.holdout import judged_metrics, judged_sides, sides_of_files
from sightline.training.recipe import Recipe
from sightline.training.row_checks import limit_of
from sightline.training.stage import place_of
from sightline.whole_file import write_whole

__all__ = ["FIT", "First", "Look", "Looks"]

SEED = 7_777  # of the probes' world: what chooses a checkpoint must not be what it is judged by
SHOWN = 6  # on the console
EXAMPLES = 48  # in the report
ROWS = 4  # of a file, for each question a kind that the recipe asks of the world
LOOKED_AT = 64  # held-out rows that are asked in the middle of a run, unless their accuracy decides something
ROOM = 256  # tokens of a question of the world and its answer
FIT = "on rows it trains on: fit, not skill"
HELD_OUT = "on held-out rows"


class Look(NamedTuple):
    """What a look has found; None: it was not asked for."""

    accuracy: float | None
    loss: float | None


class First(NamedTuple):
    """What was answered before the training: to rows, to the world, and to the examples that are shown."""

    rows: list[Answer]
    world: list[Answer]
    examples: list[str]
    loss: float | None


class Looks:
    """Looks at one run's model, always with the same questions; `folder` keeps what it answered at first.

    `held_out` and `rows` are the rows that are asked, `world` is whose questions are asked, if any; `forgets` says
    whether these are not what the run is for, but what it may forget.

    Raises:
        FileNotFoundError, ValueError: the rows that would be asked cannot be read.
    """

    def __init__(self, recipe: Recipe, model: VLM, processor: VLMProcessor, console: Console, folder: Path):
        self.per_kind = recipe.train.eval_per_kind
        self.model, self.processor, self.console = model, processor, console
        self.results: Results | None = None
        self._first = folder / "first_answers.json"
        self.sides, self._reads_files = judged_sides(recipe), _reads_files(recipe)
        held_out = [sides.held_out for sides in self.sides if sides.held_out is not None]
        self._metrics = judged_metrics(recipe)
        self.passed_over = PassedOver()  # of the held-out rows, those that cannot be scored
        self.held_out = self._held_out(held_out, recipe.train.eval_rows) if self.per_kind else None
        self.world = self._world(recipe) if self.per_kind else None
        self.rows = self._rows(recipe) if self.per_kind else None
        self.loss = _loss(recipe, held_out, processor, model.config.max_position_embeddings)
        self._few = None if _by_accuracy(recipe) else LOOKED_AT

    @property
    def forgets(self) -> bool:
        return self.world is not None and self._reads_files

    @property
    def asked_rows(self) -> Tasks | None:
        """The rows that are asked, held out or not."""
        return self.held_out or self.rows

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the world's questions; those about two pictures only where the model has room for two."""
        assert self.world is not None
        room = self.model.config.max_position_embeddings - 2 * self.processor.num_image_tokens
        return tuple(kind for kind in self.world.kinds if room >= ROOM or "pair" not in KINDS[kind].layouts)

    def world_tasks(self) -> Tasks:
        """The world's questions."""
        assert self.world is not None
        return scene_tasks(self.world, self.kinds, self.world.languages, self.per_kind)

    def _held_out(self, sides: Sequence[Data], most: int) -> Tasks | None:
        tasks = held_out_tasks(sides, most, self._metrics) if sides else None
        self.passed_over = tasks.passed_over if tasks else PassedOver()
        if tasks is not None and not tasks.keys:
            self._say(f"no held-out row can be scored, so that at most their loss is looked at: {tasks.passed_over}")
        return tasks if tasks and tasks.keys else None

    def _world(self, recipe: Recipe) -> World | None:
        """The world's test side, where the run mixes it in, or starts from a checkpoint that may know it."""
        source = recipe.data.world
        mixed = source is not None and source.weight > 0
        if not (mixed or (recipe.model.checkpoint is not None and _reads_files(recipe))):
            return None
        known: dict[str, Any] = {}
        if source is not None and mixed:
            known = {"things": source.things, "languages": source.languages}
        return World(seed=SEED, split="test", image_size=self.model.config.vision_config.image_size, **known)

    def _rows(self, recipe: Recipe) -> Tasks | None:
        """The first rows of the file that the last stage with one reads first, where there is nothing better to ask."""
        files = [file for stage in reversed(recipe.stages) for file in recipe.data_of(stage).files]
        if not files or self.held_out is not None:
            return None
        rows, count = sides_of_files(recipe)[files[0]].train, ROWS * self.per_kind
        tasks = first_rows(rows, count, files[0].metric)
        if not tasks.keys:
            self._say(f"none of the first {count} rows of {rows.path} asks anything: there is no evaluation")
        return tasks if tasks.keys else None

    def remember(self) -> None:
        """Keep what the model answers now as what it answered before it was trained."""
        rows, world = self.ask(self.asked_rows), self.ask(self.world_tasks() if self.forgets else None)
        probed = [] if self.asked_rows else [one.answer for one in self._probed()]
        first = {
            "rows": [asdict(answer) for _, answer in rows],
            "world": [asdict(answer) for _, answer in world],
            "examples": probed,
            "loss": self.loss(self.model) if self.loss else None,
        }
        write_whole(self._first, json.dumps(first, ensure_ascii=False))

    def first(self) -> First:
        """What `remember` has kept."""
        kept = json.loads(self._first.read_text(encoding="utf-8")) if self._first.exists() else {}
        if isinstance(kept, list):  # of a run that was begun before rows were held out
            kept = {"examples": kept}
        rows, world = ([Answer(**one) for one in kept.get(name, [])] for name in ("rows", "world"))
        return First(rows, world, kept.get("examples", []), kept.get("loss"))

    def look(self, what: str) -> Look | None:
        """Print loss, accuracy and a few answers under the heading `what`; None where there is nothing to look at.

        Where rows are asked that are trained on, it tells how well the model knows them by heart, not what it can.
        """
        loss = self.loss(self.model) if self.loss else None
        told = "" if loss is None else f"loss {HELD_OUT} {loss:.4f}"
        shown: Sequence[Example] = []
        if self.asked_rows is not None:
            asked = self.ask(replace(self.asked_rows, keys=self.asked_rows.keys[: self._few]))
            self.results = Results((answer for _, answer in asked), HELD_OUT if self.held_out else FIT)
            shown = self.examples(asked[:SHOWN])
        elif self.world is not None:
            languages = self.world.languages
            self.results = probe(self.model, self.processor, self.world, self.kinds, languages, self.per_kind)
            shown = self.examples()[:SHOWN]
        elif loss is None:
            return None
        self._say(f"{what}: {', '.join(filter(None, (told, str(self.results or ''))))}")
        for line in side_by_side(shown):
            self._say(f"  {line}")
        return Look(self.results.share().accuracy if self.results else None, loss)

    def ask(self, tasks: Tasks | None) -> list[tuple[Question, Answer]]:
        """All of `tasks`, in order, with what the model answers now."""
        return ask(self.model, self.processor, tasks) if tasks else []

    def examples(self, asked: Sequence[tuple[Question, Answer]] | None = None) -> list[Example]:
        """Answers of now, each with the one from before the training: `asked` ones, or those for the report."""
        if asked is None and self.asked_rows is None:
            return with_before(self._probed(), self.first().examples)
        if asked is None and self.asked_rows is not None:
            asked = self.ask(replace(self.asked_rows, keys=self.asked_rows.keys[:EXAMPLES]))
        before: dict[Key, str] = {one.key: one.answer for one in self.first().rows}
        return [example(question, answer, before.get(answer.key)) for question, answer in asked or []]

    def _probed(self) -> list[Example]:
        if self.world is None:
            return []
        world = self.world
        return probe_examples(self.model, self.processor, world, self.kinds, world.languages, EXAMPLES)

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)


def _reads_files(recipe: Recipe) -> bool:
    return any(recipe.data_of(stage).files for stage in recipe.stages)


def _by_accuracy(recipe: Recipe) -> bool:
    rules = [recipe.optimisation_of(stage).early_stopping for stage in recipe.stages]
    return any(rule is not None and rule.by == "accuracy" for rule in rules)


def _loss(recipe: Recipe, held_out: Sequence[Data], processor: VLMProcessor, room: int) -> HeldOutLoss | None:
    if not held_out:
        return None
    last = next(stage for stage in reversed(recipe.stages) if recipe.data_of(stage).files)
    limit = limit_of(recipe.optimisation_of(last).max_length, room)
    loss = HeldOutLoss(held_out, processor, limit, place_of(recipe)[1])
    return loss if loss.places else None
