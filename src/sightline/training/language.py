"""What a run's files say, as the model's tokenizer carries it: how well, and which words it should have of its own.

Of each file the first rows are read, so that a run that begins again finds the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from sightline.data.carrying import Carried, carried_words, spelled_out
from sightline.data.sample import Sample, answers_of, questions_of, sample_of
from sightline.training.recipe import Recipe
from sightline.training.sources import open_rows

if TYPE_CHECKING:
    from sightline.training.batches import StageBatches

__all__ = ["carried_by", "new_words"]

LOOKED_AT = 200  # rows of a file, for how it is carried
READ = 20_000  # rows of a file, for its words


def carried_by(data: StageBatches) -> Carried:
    """How the processor's tokenizer carries what the files of a stage say; the built-in world, which made it, aside."""
    carried = Carried()
    for rows in data.files:
        for row in islice(rows, LOOKED_AT):
            carried += carried_words(sample_of(row), data.processor)
    return carried


def new_words(recipe: Recipe, tokenizer: Any) -> list[str]:
    """The words of the recipe's files that the tokenizer spells out, at most `model.new_words`, the dearest first."""
    texts = (text for sample in _samples(recipe) for text in (*questions_of(sample), *answers_of(sample)))
    return spelled_out(texts, tokenizer, recipe.model.new_words)


def _samples(recipe: Recipe) -> Iterator[Sample]:
    for rows in open_rows(recipe):
        yield from map(sample_of, islice(rows, READ))
