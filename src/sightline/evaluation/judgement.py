"""A tuned model beside what it must beat, on questions that it was not tuned on: `Judgement`.

The answers are others' to get. Here they are lined up, counted and put into words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sightline.evaluation.confusion import Confusion, confusion
from sightline.evaluation.results import Answer, Results

__all__ = ["Change", "Judgement", "change"]


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
        columns = {
            "majority answer": self.majority,
            "before tuning": self.before,
            "tuned, without picture": self.blind,
            "tuned": self.tuned,
        }
        return {name: Results(answers) for name, answers in columns.items() if answers}

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
        columns = self.columns
        names = [name for name in columns if name != "tuned"]
        beside = ", ".join(f"{name} {_percent(columns[name])}" for name in names)
        told = Results(self.tuned, "that were held out").summary()
        return f"{told}. Beside it: {beside}." if beside else f"{told}."

    def as_dict(self) -> dict[str, Any]:
        """For JSON: each column, and what the picture is worth."""
        found: dict[str, Any] = {name.replace(", ", "_").replace(" ", "_"): one.as_dict() for name, one in self._all()}
        table = self.confusion
        return found | {
            "what_the_picture_is_worth": self._worth(),
            "confusion": table and table.as_dict(),
        }

    def _all(self) -> list[tuple[str, Results]]:
        return list(self.columns.items())

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
    first = {one.key: one for one in before}
    pairs = [(first[one.key], one) for one in after if one.key in first]
    return Change(
        Results(one for one, _ in pairs),
        Results(one for _, one in pairs),
        sum(old.right == 1 and new.right < 1 for old, new in pairs),
        sum(old.right < 1 and new.right == 1 for old, new in pairs),
    )


def _percent(results: Results) -> str:
    return f"{100 * results.share().accuracy:.1f} %"
