"""A fair few of the rows that were held out, as questions: `held_out_tasks`. It knows rows, not models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightline.data.readers import Data
from sightline.evaluation.tasks import Key, PassedOver, Question, Tasks, key_of, question_of

__all__ = ["held_out_tasks"]

SEED = 7_777  # of which rows are asked first


def held_out_tasks(sides: Sequence[Data], most: int, metrics: Sequence[str | None] = ()) -> Tasks:
    """Up to `most` rows of all `sides` together, drawn at random but always the same ones, so that the first few of
    them are a fair few too: rows of one kind often stand together in a file.

    Rows that ask nothing, or have no truth, are passed over and counted. A key's number counts the rows of all sides.

    Args:
        metrics: of each side, when an answer to a row that names no metric is right; as in `file_tasks`.

    Raises:
        FileNotFoundError, ValueError: a row cannot be read.
    """
    starts = np.cumsum([0, *map(len, sides)])
    questions = _Rows(sides, metrics or [None] * len(sides), starts)
    keys, passed_over = list[Key](), PassedOver()
    for number in np.random.default_rng(SEED).permutation(starts[-1]).tolist():
        if len(keys) == most:
            break
        key = questions.key(number)
        try:
            questions(key)
        except ValueError as error:
            passed_over = passed_over.and_also(error)  # it may teach although it asks nothing
            continue
        keys.append(key)
    settings = {"files": [rows.path for rows in sides], "rows": len(keys), "of": int(starts[-1])}
    return Tasks(keys, questions, settings, passed_over)


class _Rows:
    """The rows of several sides as questions, by a key whose number counts through all of them."""

    def __init__(self, sides: Sequence[Data], metrics: Sequence[str | None], starts: np.ndarray):
        self.sides, self.metrics, self.starts = sides, metrics, starts

    def __call__(self, key: Key) -> Question:
        side, row = self._at(key.number)
        return question_of(self.sides[side][row], key, self.metrics[side])

    def key(self, number: int) -> Key:
        side, row = self._at(number)
        rows = self.sides[side]
        return key_of(rows, row, rows[row])._replace(number=number)

    def _at(self, number: int) -> tuple[int, int]:
        """The side, and the row in it."""
        side = int(np.searchsorted(self.starts, number, side="right")) - 1
        return side, number - int(self.starts[side])
