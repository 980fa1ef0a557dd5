"""A tuned model beside what it must beat, on questions that it was not tuned on: `Judgement`.

The answers are others' to get. Here they are lined up, counted and put into words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

from sightline.evaluation.confusion import Confusion, confusion
from sightline.evaluation.results import Answer, Results

__all__ = ["Change", "Judgement", "change"]

FEW = 12  # different questions that are told one by one


@dataclass(frozen=True)
class Judgement:
    """Answers to the same held-out questions; `blind` are the tuned model's to those with a picture, without it."""

    tuned: Sequence[Answer]
    before: Sequence[Answer]
    majority: Sequence[Answer]
    blind: Sequence[Answer]

    @property
    def columns(self) -> dict[str, Results]:
        """The figures to be read side by side; what was not asked is left out."""
        by_question = _few_questions(self.tuned)
        columns = {**self._others, "tuned": self.tuned}
        return {name: _results(answers, by_question) for name, answers in columns.items() if answers}

    @property
    def _others(self) -> dict[str, Sequence[Answer]]:
        """What the tuned model must beat, as far as it was asked."""
        others = {"majority answer": self.majority, "before tuning": self.before, "without picture": self.blind}
        return {name: answers for name, answers in others.items() if answers}

    @property
    def seeing(self) -> Results:
        """The tuned model with the picture, on the questions that it was also asked without."""
        asked = {one.key for one in self.blind}
        return Results(one for one in self.tuned if one.key in asked)

    @property
    def confusion(self) -> Confusion | None:
        return confusion(self.tuned)

    def worst(self, most: int = 24) -> list[Answer]:
        """Wrong answers, those first that the model was surest of."""
        wrong = [one for one in self.tuned if one.right == 0]
        return sorted(wrong, key=lambda one: -(one.sure or 0.0))[:most]

    def summary(self) -> str:
        """The whole, in words."""
        share = Results(self.tuned).share()
        low, high = share.interval
        told = f"{100 * share.accuracy:.1f} % of {share.total:,} held-out questions right"
        beside = [f"{name} {_percent(results)}" for name, results in self.columns.items() if name != "tuned"]
        sentences = [
            f"{told} (95 % interval {100 * low:.1f} to {100 * high:.1f})",
            *([f"Beside it: {', '.join(beside)}"] if beside else []),
            *self._unbeaten(),
        ]
        return f"{'. '.join(sentences)}."

    def _unbeaten(self) -> list[str]:
        """What the tuned model does not beat, or not so that these questions could tell."""
        below, unsure = [], []
        for name, others in self._others.items():
            pairs = _pairs(others, self.tuned)
            if sum(one.right for _, one in pairs) <= sum(other.right for other, _ in pairs):
                below.append(name)
            elif not _are_told_apart(pairs):
                unsure.append(name)
        told = [f"It is no better than {' and '.join(below)}"] if below else []
        return told + ([f"So few questions do not tell it from {' and '.join(unsure)}"] if unsure else [])

    def as_dict(self) -> dict[str, Any]:
        """For JSON: each column, and what the picture is worth."""
        table = self.confusion
        columns = {name.replace(" ", "_"): results.as_dict() for name, results in self.columns.items()}
        return columns | {"what_the_picture_is_worth": self._worth(), "confusion": table and table.as_dict()}

    def _worth(self) -> float | None:
        """The difference in accuracy that the picture makes, on the questions that have one."""
        if not self.blind:
            return None
        return round(self.seeing.share().accuracy - Results(self.blind).share().accuracy, 4)


@dataclass(frozen=True)
class Change:
    """What became of the same questions: how many were right before and are wrong now, and the other way round."""

    before: Results
    after: Results
    lost: int
    gained: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "right_before_and_wrong_now": self.lost,
            "wrong_before_and_right_now": self.gained,
        }

    def __str__(self) -> str:
        """One line."""
        before, after = _percent(self.before), _percent(self.after)
        total = self.after.share().total
        return f"{after} of {total} questions right, {before} before: {self.lost} were forgotten, {self.gained} learned"


def change(before: Sequence[Answer], after: Sequence[Answer]) -> Change:
    """What became of the questions that were asked both times."""
    pairs = _pairs(before, after)
    return Change(
        Results(one for one, _ in pairs),
        Results(one for _, one in pairs),
        sum(old.right == 1 and new.right < 1 for old, new in pairs),
        sum(old.right < 1 and new.right == 1 for old, new in pairs),
    )


def _pairs(before: Sequence[Answer], after: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    """Both answers to each question that was asked both times."""
    first = {one.key: one for one in before}
    return [(first[one.key], one) for one in after if one.key in first]


def _are_told_apart(pairs: Sequence[tuple[Answer, Answer]]) -> bool:
    """Whether the second of each pair is right more often by more than chance (two-sided, 5 %).

    McNemar's test (1947), exact. Questions about one picture count as one, for they are right or wrong together.
    """
    differences: defaultdict[str | int, float] = defaultdict(float)
    for number, (one, other) in enumerate(pairs):
        differences[other.shown or number] += other.right - one.right
    better, worse = (sum(sign * value > 0 for value in differences.values()) for sign in (1, -1))
    total = better + worse
    # Whole numbers, for no float holds 2 to the power of a thousand.
    return 40 * sum(comb(total, k) for k in range(better, total + 1)) < 2**total


def _few_questions(answers: Sequence[Answer]) -> bool:
    """Whether the answers are all of one kind, and to so few questions that these tell more than the kind does."""
    return len({one.kind for one in answers}) == 1 and 2 <= len({one.question for one in answers}) <= FEW


def _results(answers: Sequence[Answer], by_question: bool) -> Results:
    return Results(replace(one, kind=one.question) if by_question else one for one in answers)


def _percent(results: Results) -> str:
    return f"{100 * results.share().accuracy:.1f} %"
