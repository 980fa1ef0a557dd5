"""A quick look at a model in the middle of its training: accuracy by kind, and a few answers.

It leaves the model and the random generators as they were, so that a run with probes takes the same steps as one
without. It knows neither optimisers nor logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from sightline.data.scenes import World
from sightline.evaluation.answering import Reply, answer, by_room
from sightline.evaluation.evaluate import WINDOW, judge
from sightline.evaluation.examples import Example, example
from sightline.evaluation.results import Answer, Results
from sightline.evaluation.tasks import Question, Tasks, scene_tasks

__all__ = ["ask", "probe", "probe_examples", "side_by_side", "undisturbed", "with_before"]


def ask(
    model: Any, processor: Any, tasks: Tasks, batch_size: int = 32, max_new_tokens: int | None = None
) -> list[tuple[Question, Answer]]:
    """All of `tasks`, in order, with what the model answers.

    Args:
        max_new_tokens: at which an answer is cut; None: by the question's truths, as `by_room`.

    Raises:
        FileNotFoundError, ValueError: as `answer`.
    """
    batches: list[list[tuple[Question, Reply]]] = []
    with undisturbed(model):
        # A window at a time: the pictures of all questions together may not fit into memory.
        for start in range(0, len(tasks.keys), WINDOW * batch_size):
            questions = [tasks.question(key) for key in tasks.keys[start : start + WINDOW * batch_size]]
            for most, alike in by_room(model, processor, questions, max_new_tokens):
                batches += answer(model, processor, alike, batch_size, most)
    judged = {question.key: (question, judge(question, *reply)) for batch in batches for question, reply in batch}
    return [judged[key] for key in tasks.keys]


SHOWN = 60  # characters of an answer on the console


def probe(
    model: Any,
    processor: Any,
    world: World,
    kinds: Sequence[str],
    languages: Sequence[str],
    per_kind: int,
    batch_size: int = 32,
    max_new_tokens: int | None = None,
) -> Results:
    """Accuracy on `per_kind` questions of each kind and language, the same ones every time; `str` of it is one line.

    Take a world of another seed than the final evaluation's, which must not have chosen the checkpoint.

    Raises:
        ValueError: a kind or language does not exist.
    """
    tasks = scene_tasks(world, kinds, languages, per_kind)
    return Results(one for _, one in ask(model, processor, tasks, batch_size, max_new_tokens))


def probe_examples(
    model: Any, processor: Any, world: World, kinds: Sequence[str], languages: Sequence[str], count: int
) -> list[Example]:
    """`count` questions with their pictures and the model's answers, of as many kinds as there is place for."""
    tasks = scene_tasks(world, kinds, languages, 1 + count // (len(kinds) * len(languages)))
    # The first of every kind, in languages by turns, before the second of any.
    order = sorted(
        tasks.keys,
        key=lambda key: (key.number, (languages.index(key.language) + kinds.index(key.kind)) % len(languages)),
    )
    few = replace(tasks, keys=order[:count])
    found = {question.key: example(question, one) for question, one in ask(model, processor, few, count)}
    return [found[key] for key in few.keys]


def with_before(now: Sequence[Example], before: Sequence[str]) -> list[Example]:
    """The examples `now`, the first of them with what the same questions were answered `before`."""
    known = [replace(one, before=answer) for one, answer in zip(now, before, strict=False)]
    return [*known, *now[len(known) :]]


def side_by_side(examples: Sequence[Example]) -> Iterator[str]:
    """A line for each example: question, truth, answer, and what was answered before where that is known."""
    for one in examples:
        mark = "+" if one.right == 1 else "-"
        before = "" if one.before is None else f"  (before: {_short(one.before)})"
        yield f"{mark} {one.kind}: {_short(one.question)}  {_short(one.truth)}  ->  {_short(one.answer)}{before}"


def _short(text: str) -> str:
    """In one line of `SHOWN` characters: an untrained model does not know when to stop."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Eval mode without gradients, and every module's mode and the random generators back afterwards."""
    modes = {module: module.training for module in model.modules()}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
