"""What a check found, in numbers and in words: `Report`. It prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sightline.data.check.problems import KINDS, Limits

__all__ = ["MOST", "Finding", "Report"]

MOST = 10_000  # findings of a kind that are kept; the counts are of all


@dataclass(frozen=True)
class Finding:
    """One problem of one row. `row` counts from 0; `where` is what people call it."""

    row: int
    where: str
    kind: str
    bad: bool
    text: str


@dataclass(frozen=True)
class Report:
    """What was found in `path`.

    `counts` are rows (of near copies: pictures) by kind; `findings` list them, at most `MOST` of a kind; `bad` has the
    numbers of all rows that are bad, each with its first problem that makes it so, and `repeated` those of all that
    repeat an earlier one. `tokens` and `pictures` are figures by name, `split` says how training divides the rows
    (`own`: the held-out split that they come with).
    """

    path: str
    format: str
    rows: int
    limits: Limits
    counts: Mapping[str, int]
    findings: Sequence[Finding]
    bad: Mapping[int, str]
    repeated: frozenset[int]
    pictures: Mapping[str, Any]
    tokens: Mapping[str, Any]
    split: Mapping[str, Any]

    @property
    def warnings(self) -> int:
        """How many problems make no row bad."""
        return sum(count for kind, count in self.counts.items() if not KINDS[kind])

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can carry it."""
        return {
            "path": self.path,
            "format": self.format,
            "rows": self.rows,
            "bad_rows": len(self.bad),
            "warnings": self.warnings,
            "problems": {kind: {"count": count, "bad": KINDS[kind]} for kind, count in self.counts.items()},
            "limits": asdict(self.limits),
            "pictures": dict(self.pictures),
            "tokens": dict(self.tokens),
            "split": dict(self.split),
            "findings": [asdict(one) for one in self.findings],
            "findings_left_out": sum(self.counts.values()) - len(self.findings),
        }
