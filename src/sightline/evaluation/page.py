"""One self-contained HTML page out of sections: `render_report`.

Pictures are embedded small, the little script is the page's own, nothing is fetched, and all text is escaped. What
the sections say is the caller's: this file knows neither models nor training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

from PIL import Image

from sightline.evaluation.confusion import Confusion
from sightline.evaluation.examples import PICTURE_SIDE, Example
from sightline.evaluation.results import Results
from sightline.web_page import data_uri, write_page

__all__ = [
    "Accuracy",
    "Comparison",
    "Curves",
    "Facts",
    "Gallery",
    "Listing",
    "Mistaken",
    "Section",
    "render_report",
]


@dataclass(frozen=True)
class Accuracy:
    """A table of right answers by kind and language, with bars for the intervals."""

    heading: str
    results: Results
    macro: ClassVar[str] = "accuracy"


@dataclass(frozen=True)
class Comparison:
    """Right answers by kind, of several answerers side by side; `notes` say how to read them.

    `rows` is what a kind is called here; without `summed` there is no row of them all.
    """

    heading: str
    columns: Mapping[str, Results]
    notes: Sequence[str] = ()
    rows: str = "kind"
    summed: bool = True
    macro: ClassVar[str] = "comparison"

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys(kind for results in self.columns.values() for kind in results.kinds))

    def asked(self, kind: str | None = None) -> int:
        """How many questions, of a kind or of all, whoever was asked most was asked."""
        return max((results.share(kind).total for results in self.columns.values()), default=0)


@dataclass(frozen=True)
class Mistaken:
    """A table of truths against answers."""

    heading: str
    table: Confusion
    notes: Sequence[str] = ()
    macro: ClassVar[str] = "mistaken"


@dataclass(frozen=True)
class Curves:
    """Curves over the steps, each with its name; `marks` are (step, label)."""

    heading: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    marks: Sequence[tuple[float, str]] = ()
    logarithmic: Sequence[str] = ()  # the names of those on a logarithmic scale
    macro: ClassVar[str] = "curves"

    @property
    def span(self) -> tuple[float, float]:
        """The steps that the curves lie in; all are drawn over the same."""
        steps = [step for points in self.curves.values() for step, _ in points]
        return min(steps, default=0.0), max(steps, default=1.0)


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    heading: str
    facts: Mapping[str, object]
    macro: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Gallery:
    """Answers with their pictures, to be filtered by kind, language and outcome."""

    heading: str
    examples: Sequence[Example]
    notes: Sequence[str] = ()
    macro: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Listing:
    """Text as it stands in a file."""

    heading: str
    text: str
    macro: ClassVar[str] = "listing"


Section: TypeAlias = Accuracy | Comparison | Curves | Facts | Gallery | Listing | Mistaken


def render_report(path: Path, *, title: str, sections: Sequence[Section], summary: str = "") -> Path:
    """Write the page of `sections` to `path`, whole or not at all, and return the path."""
    from sightline.evaluation.curves import svg

    return write_page(
        path,
        "sightline.evaluation",
        "page.html.jinja",
        {"title": title, "summary": summary, "sections": sections},
        {"svg": svg, "thumbnail": thumbnail},
    )


def thumbnail(picture: Image.Image) -> str:
    """The picture as a data URI, at most `PICTURE_SIDE` pixels a side."""
    return data_uri(picture, PICTURE_SIDE, quality=80)
