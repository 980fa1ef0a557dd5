"""A fair few of the rows that were held out, as questions: `held_out_tasks`. It knows rows, not models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightline.data.readers import Data
from sightline.evaluation.tasks import Key, Question, Tasks, key_of, question_of

__all__ = ["held_out_tasks"]

SEED = 7_777  # of which rows are asked first


def held_out_tasks(sides: Sequence[Data], most: int) -> Tasks:
    """Up to `most` rows of all `sides` together, drawn at random but always the same ones, so that the first few of
    them are a fair few too: rows of one kind often stand together in a file.

    Rows that ask nothing, or have no truth, are passed over. A key's number counts the rows of all sides.

    Raises:
        FileNotFoundError, ValueError: a row cannot be read.
    """
    starts = np.cumsum([0, *map(len, sides)])
    questions = _Rows(sides, starts)
    keys: list[Key] = []
    for number in np.random.default_rng(SEED).permutation(starts[-1]).tolist():
        if len(keys) == most:
            break
        key = questions.key(number)
        try:
            questions(key)
        except ValueError:
            continue  # it may teach although it asks nothing
        keys.append(key)
    settings = {"files": [rows.path for rows in sides], "rows": len(keys), "of": int(starts[-1])}
    return Tasks(keys, questions, settings)


class _Rows:
    """The rows of several sides as questions, by a key whose number counts through all of them."""

    def __init__(self, sides: Sequence[Data], starts: np.ndarray):
        self.sides, self.starts = sides, starts

    def __call__(self, key: Key) -> Question:
        rows, row = self._at(key.number)
        return question_of(rows[row], key, None)

    def key(self, number: int) -> Key:
        rows, row = self._at(number)
        return key_of(rows, row, rows[row])._replace(number=number)

    def _at(self, number: int) -> tuple[Data, int]:
        side = int(np.searchsorted(self.starts, number, side="right")) - 1
        return self.sides[side], number - int(self.starts[side])
