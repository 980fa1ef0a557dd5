"""What a tuned model must beat: the most frequent answer to each question, and itself without the picture.

`Majority` has seen the answers of the rows that are learned from, and no picture; `without_pictures` takes them out of
questions. They know no models.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from sightline.data.readers import Data
from sightline.evaluation.evaluate import judge
from sightline.evaluation.metrics import normalize
from sightline.evaluation.results import Answer
from sightline.evaluation.tasks import Key, PassedOver, Question, Tasks, key_of, question_of

__all__ = ["Majority", "answers_learned_from", "without_pictures"]

MOST = 20_000  # rows of a file, whose answers are counted


class Majority:
    """The most frequent answer to each question; to one that was never asked, the most frequent of all.

    Answers count as one that differ only in what `normalize` takes away; of equally frequent ones the first is given.

    Args:
        answered: text of a question and of its answer.
    """

    def __init__(self, answered: Iterable[tuple[str, str]]):
        self._words: dict[str, str] = {}
        by_question: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for question, answer in answered:
            said = normalize(answer)
            self._words.setdefault(said, answer)
            by_question[normalize(question)][said] += 1
        everything = Counter[str]()
        for counts in by_question.values():
            everything.update(counts)
        self._best = {question: counts.most_common(1)[0][0] for question, counts in by_question.items()}
        self._else = everything.most_common(1)[0][0] if everything else ""

    def __call__(self, question: str) -> str:
        return self._words.get(self._best.get(normalize(question), self._else), "")

    def answers(self, questions: Iterable[Question]) -> list[Answer]:
        """What it says to `questions`, judged."""
        return [judge(question, self(question.text)) for question in questions]


def answers_learned_from(sides: Sequence[Data]) -> tuple[list[tuple[str, str]], PassedOver]:
    """Question and first right answer of the rows of each side that ask something, and which of these do not, or cannot
    be read: training may never have come to them.

    Of more than `MOST` rows as many from all over the side, for those of one kind often stand together; of rows that
    come in their order only, the first.

    Raises:
        FileNotFoundError, ValueError: a row cannot be read.
    """
    learned, passed_over = list[tuple[str, str]](), PassedOver()
    for rows in sides:
        for number, (_, row) in enumerate(islice(_spread(rows).attempts(), MOST)):
            if isinstance(row, Exception):
                passed_over = passed_over.and_also(row)
                continue
            try:
                question = question_of(row, key_of(rows, number, row), None)
            except ValueError as error:
                passed_over = passed_over.and_also(error)
                continue
            learned.append((question.text, question.truths[0]))
    return learned, passed_over


def _spread(rows: Data) -> Data:
    if rows.is_in_order_only or len(rows) <= MOST:
        return rows
    return rows.subset(np.linspace(0, len(rows) - 1, MOST).astype(np.int64))


def without_pictures(tasks: Tasks) -> Tasks:
    """Those of `tasks` that show a picture, without it: the words alone, as the model would read them from a user who
    forgot to attach it."""

    def blind(key: Key) -> Question:
        return _blinded(tasks.question(key))

    return replace(tasks, keys=[key for key in tasks.keys if _shows(tasks.question(key))], question=blind)


def _shows(question: Question) -> bool:
    return any(part["type"] == "image" for message in question.messages for part in message["content"])


def _blinded(question: Question) -> Question:
    messages = [
        {**message, "content": [part for part in message["content"] if part["type"] != "image"]}
        for message in question.messages
    ]
    return replace(question, messages=messages)
