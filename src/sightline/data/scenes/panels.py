"""The registry of panels: pictures that are not scenes of objects, such as a page of print or a chart.

A panel knows its own pixels, regions and words, and what its questions ask; whoever adds a layout adds a row here.
This file does not know what any of them looks like.
"""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from sightline.data.scenes.atlas import check_name
from sightline.data.scenes.chart_questions import CHART_KINDS
from sightline.data.scenes.charts import random_bars, random_pie
from sightline.data.scenes.digits import DIGIT_KINDS, random_digits
from sightline.data.scenes.panel_phrasings import Found, phrase
from sightline.data.scenes.printed import PRINTED_KINDS, random_printed

__all__ = ["PANELS", "PANEL_AXES", "PANEL_KINDS", "Panel", "PanelKind", "Region"]

# What of a panel can be kept from training: a test may ask for the held-out part of any.
PANEL_AXES = ("word", "font", "digit")

Region = tuple[tuple[float, float, float, float], str]


class Panel(Protocol):
    """A picture with a known content. Frozen: the same panel is drawn the same each time, at any size."""

    @property
    def layout(self) -> str:
        """Its name in PANELS."""

    def draw(self, size: int) -> Image.Image:
        """An RGB picture of `size` x `size` pixels."""

    def regions(self, language: str) -> list[Region]:
        """Its parts: (left, top, right, bottom) as fractions of the side, and what is there, in words."""

    def describe(self, language: str) -> str:
        """The whole content in words: whatever a question may ask."""


Ask = Callable[..., tuple[str, str] | None]


@dataclass(frozen=True)
class PanelKind:
    """One layout: how a panel is made, and what can be asked of it."""

    layout: str
    make: Callable[[random.Random, Collection[str]], Panel]
    finders: Mapping[str, Callable[[Any, random.Random, str], Found | None]]

    def random(self, rng: random.Random, unseen: Collection[str] = ()) -> Panel:
        """A panel that depends on the arguments only; `unseen` names the axes whose held-out part is drawn.

        Raises:
            ValueError: for an unknown axis.
        """
        return self.make(rng, frozenset(check_name("held-out axis", axis, PANEL_AXES) for axis in unseen))

    @property
    def kinds(self) -> dict[str, Ask]:
        """Kind of question -> a function of (panel, rng, language, held_out=False).

        It gives a question and its answer, or None where the question would be ambiguous for the panel;
        `held_out` takes the wording that is kept from training.
        """
        return {kind: _asking(kind, find) for kind, find in self.finders.items()}


def _asking(kind: str, find: Callable[[Any, random.Random, str], Found | None]) -> Ask:
    def ask(panel: Panel, rng: random.Random, language: str, held_out: bool = False) -> tuple[str, str] | None:
        if (found := find(panel, rng, language)) is None:
            return None
        fields, answer = found
        return phrase(kind, rng, language, fields, held_out), answer

    return ask


PANELS: dict[str, PanelKind] = {
    kind.layout: kind
    for kind in (
        PanelKind("printed", random_printed, PRINTED_KINDS),
        PanelKind("digits", random_digits, DIGIT_KINDS),
        PanelKind("bars", random_bars, CHART_KINDS),
        PanelKind("pie", random_pie, CHART_KINDS),
    )
}

# Kind of question -> the layouts of which it can be asked.
PANEL_KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(layout for layout, panel in PANELS.items() if kind in panel.finders)
    for kind in dict.fromkeys(kind for panel in PANELS.values() for kind in panel.finders)
}
