"""Ask a model everything that is not answered yet, and keep the answers: `evaluate`.

It joins tasks, model and answers. It prints nothing: `on_batch` hears of every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sightline.evaluation.answer_file import AnswerFile
from sightline.evaluation.answering import answer, by_room
from sightline.evaluation.results import Answer
from sightline.evaluation.tasks import Key, Question, Tasks

__all__ = ["evaluate", "judge"]

ROOM = 128  # tokens that an answer has at least, where no other number is given
WINDOW = 4  # batches whose questions are made, and sorted by length, together


def evaluate(
    model: Any,
    processor: Any,
    tasks: Tasks,
    kept: AnswerFile,
    *,
    batch_size: int = 32,
    max_new_tokens: int | None = ROOM,
    workers: int = 0,
    on_batch: Callable[[Sequence[Answer]], None] = lambda _: None,
) -> list[Answer]:
    """The answers to all of `tasks`, in order: those `kept`, and the others from the model, kept as they come.

    `workers` processes make the questions beside the model: pictures take as long to draw as to answer. An answer ends
    after `max_new_tokens`; None: after `ROOM`, or later where a question's truths are longer (`by_room`).

    Raises:
        FileNotFoundError, ValueError: a question cannot be made or leaves no place for an answer, or the kept
            answers are to other questions, or about pictures that were changed since.
    """
    _check_same_questions(tasks, kept)
    _check_same_pictures(tasks, kept)
    missing = _Windows(tasks, [key for key in tasks.keys if key not in kept], WINDOW * batch_size)
    # A generator of its own, or each start would draw from the global random numbers.
    for questions in DataLoader(missing, batch_size=None, num_workers=workers, generator=torch.Generator()):
        if isinstance(questions, Exception):
            raise questions
        for most, alike in by_room(model, processor, questions, max_new_tokens, ROOM):
            for batch in answer(model, processor, alike, batch_size, most):
                judged = [judge(question, *reply) for question, reply in batch]
                kept.add(judged)
                on_batch(judged)
    return [kept[key] for key in tasks.keys]


class _Windows(Dataset[Any]):
    """Item `n` is the `n`th window of questions, or the error that making them gave."""

    def __init__(self, tasks: Tasks, keys: Sequence[Key], size: int):
        self.tasks = tasks
        self.windows = [keys[start : start + size] for start in range(0, len(keys), size)]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> list[Question] | Exception:
        try:
            return [self.tasks.question(key) for key in self.windows[number]]
        except (ValueError, FileNotFoundError) as error:
            return error  # raised in a worker it would carry the worker's traceback in its text


def judge(question: Question, text: str, sure: float | None = None) -> Answer:
    """The answer `text` with its score, and how sure the model was of it."""
    rounded = None if sure is None else round(sure, 4)
    return Answer(*question.key, question.text, question.truths[0], text, question.score(text), rounded, question.shown)


def _check_same_questions(tasks: Tasks, kept: Iterable[Answer]) -> None:
    """Settings of a caller's own may not say which world or rows were asked: one question of each kind tells."""
    for one in {(one.kind, one.language): one for one in kept}.values():
        question = tasks.question(one.key)
        then, now = (one.question, one.truth), (question.text, question.truths[0])
        if then != now:
            old, new = next(pair for pair in zip(then, now, strict=True) if pair[0] != pair[1])
            raise ValueError(
                f"the answers there are to other questions ({old!r}, now {new!r}): give another --out, or delete it"
            )


def _check_same_pictures(tasks: Tasks, kept: Iterable[Answer]) -> None:
    """A picture that was mended after a run had stopped at it does no harm; one that was asked about does."""
    for one in kept:
        if one.shown and (question := tasks.question(one.key)).shown != one.shown:
            raise ValueError(
                f"{question.where}: its picture was changed since it was asked about: give another --out, or delete it"
            )
