"""Which short answers are taken for which: `confusion`. It counts; how the table is drawn is the page's business."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.evaluation.metrics import normalize
from sightline.evaluation.results import Answer

__all__ = ["OTHER", "Confusion", "confusion"]

OTHER = "(other)"
SHORT = 30  # characters of a truth up to which it is a class, and not a sentence of its own


@dataclass(frozen=True)
class Confusion:
    """`counts[truth][answer]`, both in the order of `labels`; what is left out of the labels is pooled as the last."""

    labels: Sequence[str]
    counts: Sequence[Sequence[int]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"labels": list(self.labels), "counts": [list(row) for row in self.counts]}


def confusion(answers: Iterable[Answer], most: int = 12) -> Confusion | None:
    """The table of the `most` frequent truths of up to `SHORT` characters, and of what was answered to them.

    Answers that are no such truth, and truths less frequent, are `OTHER`. What was counted right is the truth in other
    words (another of several right answers, a letter, a sentence that holds it), and stands as the truth itself. None
    where fewer than two truths are short.

    >>> told = [("cat", "cat"), ("cat", "a dog"), ("dog", "Dog.")]
    >>> confusion(Answer("k", "", n, "?", truth, said, 0.0) for n, (truth, said) in enumerate(told)).counts
    [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    """
    short = [one for one in answers if len(one.truth) <= SHORT]
    pairs = [(normalize(one.truth), normalize(one.truth if one.right == 1 else one.answer)) for one in short]
    frequent = [truth for truth, _ in Counter(truth for truth, _ in pairs).most_common(most)]
    if len(frequent) < 2:
        return None
    places = {truth: place for place, truth in enumerate(sorted(frequent, key=_by_number))}
    counts = [[0] * (len(places) + 1) for _ in range(len(places) + 1)]
    for truth, said in pairs:
        counts[places.get(truth, len(places))][places.get(said, len(places))] += 1
    return Confusion([*places, OTHER], counts)


def _by_number(label: str) -> tuple[float, str]:
    """Numbers in their order, before words in theirs."""
    return (float(label), "") if label.isdecimal() else (float("inf"), label)
