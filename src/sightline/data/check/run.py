"""All rows of some data, read once and examined: `check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from sightline.data.carrying import Carried
from sightline.data.check.examine import Examined, Examiner
from sightline.data.check.problems import KINDS, Limits, Problem
from sightline.data.check.repeats import Repeats
from sightline.data.check.report import MOST, Finding, Report
from sightline.data.encoder import Encoder
from sightline.data.numbers import Numbers
from sightline.data.pictures import in_threads
from sightline.data.readers import Data
from sightline.data.readers.divided import Divided
from sightline.data.readers.shown import Shown
from sightline.data.readers.sides import Share, told_apart
from sightline.data.readers.splits import KEPT

__all__ = ["check"]

_SAID = {
    "repeated row": "it says what {} says",
    "contradiction": "it asks what {} asks, and the answer is another",
    "near copy": "its picture looks like that of {}",
}


def check(
    data: Data | Divided,
    encoder: Encoder,
    limits: Limits = Limits(),
    held_out: Share = "auto",
    on_row: Callable[[int], None] = lambda bad: None,
) -> Report:
    """Read every row of `data`, open every picture, and report what is wrong.

    Args:
        encoder: the processor of the model that is to learn from it.
        held_out: the share of pictures for which the report says how many rows it would hold out; "auto": as training
            does by itself.
        on_row: hears after each row how many were bad so far.

    Raises:
        ValueError: a container is damaged, so that the rest of it cannot be read.
    """
    found = _Found(data)
    for examined in in_threads(Examiner(encoder, limits), data.attempts()):
        found.add(examined)
        on_row(len(found.bad))
    found.compare()
    return Report(
        path=data.path,
        format=data.format,
        rows=found.rows,
        limits=limits,
        counts={kind: found.counts[kind] for kind in KINDS if found.counts[kind]},
        findings=found.findings,
        bad=found.bad,
        repeated=frozenset(found.repeated),
        pictures=found.pictures(),
        tokens=found.tokens(),
        split=found.split(held_out),
    )


class _Found:
    """What is known so far. Of each row it keeps some bytes, whatever the row's size."""

    def __init__(self, data: Data | Divided):
        self.data, self.rows = data, 0
        self.bad: dict[int, str] = {}
        self.repeated: set[int] = set()
        self.counts: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self._repeats = Repeats()
        self._keys: list[list[bytes]] = []
        self._keyed: list[int] = []
        self._short, self._long, self._images = Numbers(), Numbers(), Numbers()
        self._tokens, self._answers, self._supervised = Numbers(), Numbers(), Numbers()
        self._of_pictures = self._pieces = 0
        self._carried = Carried()

    def add(self, examined: Examined) -> None:
        row, self.rows = self.rows, self.rows + 1
        for problem in examined.problems:
            self._note(row, examined.where, problem)
        self._repeats.add(row, examined)
        if examined.keys:
            self._keyed.append(row)
            self._keys.append([key[:KEPT] for key in examined.keys])
        for look in examined.looks:
            short, long = sorted((look.width, look.height))
            self._short.add(short)
            self._long.add(long)
        if examined.size is not None:
            self._tokens.add(examined.size.tokens)
            self._supervised.add(examined.size.supervised)
            self._answers.add(*examined.size.answers)
            self._images.add(examined.size.images)
            self._of_pictures += examined.size.of_pictures
        self._pieces += examined.pieces
        self._carried += examined.carried

    def compare(self) -> None:
        """Find the rows that have to do with each other."""
        for twin in self._repeats.twins():
            if twin.kind == "repeated row":
                self.repeated.add(twin.row)
            self.counts[twin.kind] += 1
            if self._has_room(twin.kind):
                where, earlier = (self.data.where(row) for row in (twin.row, twin.earlier))
                text = _SAID[twin.kind].format(earlier)
                self.findings.append(Finding(twin.row, where, twin.kind, KINDS[twin.kind], text))

    def _note(self, row: int, where: str, problem: Problem) -> None:
        self.counts[problem.kind] += 1
        if problem.is_bad:
            self.bad.setdefault(row, problem.kind)
        if self._has_room(problem.kind):
            self.findings.append(Finding(row, where, problem.kind, problem.is_bad, problem.text))

    def _has_room(self, kind: str) -> bool:
        """Of each kind as many are kept, so that no crowd of warnings hides the one bad row."""
        return self.counts[kind] <= MOST

    def pictures(self) -> dict[str, Any]:
        return {
            "different": len(self._repeats.looks),
            "rows_without": sum(1 for count in self._images if not count),
            "a_row": self._images.as_dict(),
            "shorter_side": self._short.as_dict(),
            "longer_side": self._long.as_dict(),
        }

    def tokens(self) -> dict[str, Any]:
        total, of_answers = self._tokens.total, self._answers.total
        return {
            "row": self._tokens.as_dict(),
            "answer": self._answers.as_dict(),
            "with_loss": self._supervised.total / total if total else 0.0,
            "of_pictures": self._of_pictures / total if total else 0.0,
            "pieces_of_characters": self._pieces / of_answers if of_answers else 0.0,
            "per_character": self._carried.per_character,
            "warning": str(self._carried),
        }

    def split(self, share: Share) -> dict[str, Any]:
        """How rows are divided, and how many pictures that are held out look like one that is learned from."""
        own = self.data.held_out.path if isinstance(self.data, Divided) else None
        if share == "auto" and self.data.is_in_order_only:
            return {"share": share, "own": own, "held_out": 0, "train": len(self._keys), "near_copies_across": 0}
        sides = told_apart(self.data, self._keys, self._keyed, share)
        shown = Shown(self._keys, self._repeats.looks)
        learned, held = shown.of(sides == 0), shown.of(sides == 1)
        counts = {"held_out": len(held.keys), "train": len(learned.keys)}
        return {"share": share, "own": own, **counts, "near_copies_across": held.near_copies_of(learned)}
