"""Answers and what they add up to: right answers by kind and language, with 95 % intervals.

It counts. What is right was decided before, and how it is shown is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sightline.evaluation.metrics import effective_total, wilson_interval
from sightline.evaluation.tasks import Key

__all__ = ["Answer", "Results", "Share"]


@dataclass(frozen=True)
class Answer:
    """What a model said to the question `key`, and its score: 1 right, 0 wrong, between them where a metric grades.

    `sure` is the probability that the model gave to its answer, where that is known; `shown` stands for the pictures
    that were asked about, and is empty where no other question is about them.
    """

    kind: str
    language: str
    index: int
    question: str
    truth: str
    answer: str
    right: float
    sure: float | None = None
    shown: str = ""

    @property
    def key(self) -> Key:
        return Key(self.kind, self.language, self.index)


@dataclass(frozen=True)
class Share:
    """`right` out of `total`, which say as much as `effective` independent ones (None: as all of them)."""

    right: float = 0
    total: int = 0
    effective: float | None = None

    @property
    def accuracy(self) -> float:
        return self.right / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval (Wilson, 1927)."""
        if self.effective is None:
            return wilson_interval(self.right, self.total)
        return wilson_interval(self.accuracy * self.effective, self.effective)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.accuracy:.1f} ({100 * low:.0f}–{100 * high:.0f})"

    def as_dict(self) -> dict[str, Any]:
        low, high = (round(end, 4) for end in self.interval)
        counts = {"right": self.right, "total": self.total}
        return {**counts, "accuracy": round(self.accuracy, 4), "low": low, "high": high}


class Results:
    """Shares of right answers by kind and language, in the order in which the kinds were first asked.

    Questions about the same pictures tend to be right or wrong together, which the intervals allow for.

    `about` says what the figures must not be read without, as "on rows it trains on"; they are shown with it.
    """

    def __init__(self, answers: Iterable[Answer] = (), about: str = ""):
        self.about = about
        self._answers = [*answers]
        cells = dict.fromkeys((answer.kind, answer.language) for answer in self._answers)
        self.shares: dict[tuple[str, str], Share] = {cell: self.share(*cell) for cell in cells}

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys(kind for kind, _ in self.shares))

    @property
    def languages(self) -> list[str]:
        return list(dict.fromkeys(language for _, language in self.shares))

    def share(self, kind: str | None = None, language: str | None = None) -> Share:
        """Of one kind, one language, both, or (neither given) of everything."""
        chosen = [one for one in self._answers if kind in (None, one.kind) and language in (None, one.language)]
        groups: dict[str | int, tuple[float, int]] = {}
        for number, one in enumerate(chosen):
            group = one.shown or number
            right, total = groups.get(group, (0.0, 0))
            groups[group] = (right + one.right, total + 1)
        effective = effective_total([*groups.values()]) if len(groups) < len(chosen) else None
        return Share(sum(one.right for one in chosen), len(chosen), effective)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `overall`, `languages` and `kinds`, each kind with its `languages`."""
        return {
            "overall": self.share().as_dict(),
            "languages": {language: self.share(language=language).as_dict() for language in self.languages},
            "kinds": {
                kind: {
                    **self.share(kind).as_dict(),
                    "languages": {lang: share.as_dict() for (k, lang), share in self.shares.items() if k == kind},
                }
                for kind in self.kinds
            },
        }

    def summary(self) -> str:
        """The whole, in words."""
        total = self.share()
        low, high = total.interval
        about = self.about and f" {self.about}"
        share = f"{100 * total.accuracy:.1f} % of {total.total:,} questions right{about}"
        return f"{share} (95 % interval {100 * low:.1f} to {100 * high:.1f})"

    def __str__(self) -> str:
        """One line: the whole with its interval, then every kind's percentage."""
        total = self.share()
        kinds = "  ".join(f"{kind} {100 * self.share(kind).accuracy:.0f}" for kind in self.kinds)
        about = self.about and f" {self.about}"
        return f"{total} % of {total.total}{about}: {kinds}"
