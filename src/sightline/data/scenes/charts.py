"""Bar charts and pies of two to five whole numbers with labels.

Every value can be read exactly: it is printed, or an axis with a line for each whole number stands beside the bars.
This file does not know what is asked of a chart.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, NamedTuple

from PIL import Image, ImageDraw

from sightline.data.scenes.augment import finish
from sightline.data.scenes.backgrounds import Paper, background, choose_paper, readable_on, stands_out
from sightline.data.scenes.colours import PALETTE, RGB, jittered, luma
from sightline.data.scenes.fonts import FONTS, HELD_OUT_FONTS, letter_boxes, paste_text, text_box, text_extent
from sightline.data.scenes.language import QUOTES
from sightline.data.scenes.scene import Box
from sightline.data.scenes.words import is_held_out

__all__ = ["LABELS", "Bars", "Entry", "Pie", "random_bars", "random_pie"]

_EVERY_LABEL = """
A B C D E F G H K L M N P R S T X Y Z
ant bag bed box bus cap car cat cow cup dog egg fan fox hat ice jam key map oak pen pig pot sea sun tea zoo
bird book cake door fish goat lake lamp milk moon rice ring rose ship shoe snow song star tree wolf
"""
LETTERS = tuple(label for label in _EVERY_LABEL.split() if len(label) == 1)  # no letter is held out
LABELS = tuple(label for label in _EVERY_LABEL.split() if not is_held_out(label))
MOST_VALUE = 10
EM = 0.115  # height of a line, of the picture's side: a capital is about 18 pixels high at 224, an x about 13
AXIS_SHARE = 0.35  # of the bar charts: values on an axis, not on the bars
MOST_BARS, LEAST_SLICE = 5, 0.11  # a slice of that share still holds its number
DISTINCT_SHARE = 0.75  # of the charts in which no value comes twice
FAR_FROM_PAPER = 70.0  # in RGB
MARGIN = 0.01
TOP = -90.0  # where every pie begins: nothing else would show which slice is the first
GAP = 0.16  # on each side of a bar, of the room it has
MOST_LABEL = 0.36  # how wide a label beside a bar may be, of the side
LINE_LIGHTNESS = 0.25  # of a grid line: how far it goes from the paper to the ink

Point = tuple[float, float]


class _Text(NamedTuple):
    """What is printed in a chart, and around which point, as fractions of the side."""

    text: str
    centre: Point
    ink: RGB


@dataclass(frozen=True)
class Entry:
    """A label, its value, and the colour it is drawn in."""

    label: str
    value: int
    colour: RGB


@dataclass(frozen=True)
class _Chart(ABC):
    """What bars and pies share. `look` seeds how the chart is drawn."""

    entries: tuple[Entry, ...]
    font: str
    ink: RGB
    paper: Paper
    look: int
    names: ClassVar[dict[str, str]]  # of the chart, by language
    part_names: ClassVar[dict[str, str]]  # of a part with its label and its value

    def draw(self, size: int) -> Image.Image:
        """The chart as an RGB picture of `size` x `size` pixels."""
        rng = random.Random(self.look)
        canvas = background(self.paper, rng.getrandbits(32), size)
        self._draw_parts(canvas)
        for text, (x, y), ink in self._texts():
            paste_text(canvas, text, self.font, EM * size, (x * size, y * size), ink)
        return finish(canvas, rng)

    def regions(self, language: str) -> list[tuple[Box, str]]:
        """Where each part is, with its label and its value; then each printed text and its letters.

        A label must be read before it can be looked up.
        """
        name, marks = self.part_names[language], QUOTES[language]
        parts = [
            (self._region(index), name.format(entry.label, entry.value)) for index, entry in enumerate(self.entries)
        ]
        return parts + [(box, marks.format(text)) for box, text in self._printed()]

    def describe(self, language: str) -> str:
        """The chart in words: all labels and values, in order."""
        name, parts = self.names[language], [(QUOTES[language].format(one.label), one.value) for one in self.entries]
        if language == "en":
            return f"{name}: {', '.join(f'{label} {value}' for label, value in parts)}."
        return f"{name}：{'，'.join(f'{label}为{value}' for label, value in parts)}。"

    def _printed(self) -> list[tuple[Box, str]]:
        found = []
        for text, centre, _ in self._texts():
            if len(text) > 1:
                found.append((text_box(text, self.font, EM, centre), text))
            found += letter_boxes(text, self.font, EM, centre)
        return found

    @abstractmethod
    def _draw_parts(self, canvas: Image.Image) -> None:
        """All but the texts."""

    @abstractmethod
    def _texts(self) -> list[_Text]:
        """All that is printed."""

    @abstractmethod
    def _region(self, index: int) -> Box:
        """Part number `index` with what is printed of it."""


@dataclass(frozen=True)
class Bars(_Chart):
    """Bars side by side from left to right, or below each other; `axis` is the number at its end, 0 for no axis."""

    horizontal: bool
    axis: int
    layout: ClassVar[str] = "bars"
    names: ClassVar[dict[str, str]] = {"en": "A bar chart", "zh": "柱状图"}
    part_names: ClassVar[dict[str, str]] = {"en": 'the bar "{}", {}', "zh": "柱子“{}”，{}"}

    @property
    def words(self) -> dict[str, dict[str, str]]:
        """What a part of the chart is called, by language."""
        long, short = ("longest", "shortest") if self.horizontal else ("tallest", "shortest")
        zh_long, zh_short = ("最长", "最短") if self.horizontal else ("最高", "最矮")
        return {
            "en": {"part": "bar", "most": long, "least": short},
            "zh": {"part": "柱子", "measure": "根", "most": zh_long, "least": zh_short},
        }

    @property
    def _plot(self) -> Box:
        """Where the bars stand; outside are labels, and the axis or the values."""
        label = max(text_extent(entry.label, self.font, EM)[0] for entry in self.entries)
        if self.horizontal:
            return label + 0.05, 0.03, 0.97 - (0.03 if self.axis else 0.12), 0.97 - (0.13 if self.axis else 0.0)
        return (0.17 if self.axis else 0.03), (0.07 if self.axis else 0.14), 0.97, 0.84

    def bar(self, index: int) -> Box:
        """Bar number `index`: left, top, right and bottom as fractions of the side."""
        left, top, right, bottom = self._plot
        share = self.entries[index].value / (self.axis or max(entry.value for entry in self.entries))
        if self.horizontal:
            step = (bottom - top) / len(self.entries)
            return left, top + step * (index + GAP), left + share * (right - left), top + step * (index + 1 - GAP)
        step = (right - left) / len(self.entries)
        return left + step * (index + GAP), bottom - share * (bottom - top), left + step * (index + 1 - GAP), bottom

    def _draw_parts(self, canvas: Image.Image) -> None:
        pen, size = ImageDraw.Draw(canvas), canvas.width
        if self.axis:
            self._draw_lines(pen, size)
        for index, entry in enumerate(self.entries):
            left, top, right, bottom = (round(side * size) for side in self.bar(index))
            pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=entry.colour)

    def _texts(self) -> list[_Text]:
        """The labels; then the values, or each second number of the axis."""
        rows = list(enumerate(self.entries))
        texts = [(entry.label, self._label_centre(index)) for index, entry in rows]
        if self.axis:
            texts += [(str(value), self._number_centre(value)) for value in range(0, self.axis + 1, 2)]
        else:
            texts += [(str(entry.value), self._value_centre(index)) for index, entry in rows]
        return [_Text(text, centre, self.ink) for text, centre in texts]

    def _label_centre(self, index: int) -> Point:
        left, top, right, bottom = self.bar(index)
        if self.horizontal:
            return left - 0.02 - text_extent(self.entries[index].label, self.font, EM)[0] / 2, (top + bottom) / 2
        return (left + right) / 2, 0.925

    def _value_centre(self, index: int) -> Point:
        left, top, right, bottom = self.bar(index)
        return (right + 0.07, (top + bottom) / 2) if self.horizontal else ((left + right) / 2, top - 0.065)

    def _along(self, value: int) -> float:
        """Where a value stands on the axis: across a chart whose bars lie, else down."""
        left, top, right, bottom = self._plot
        share = value / self.axis
        return left + share * (right - left) if self.horizontal else bottom - share * (bottom - top)

    def _number_centre(self, value: int) -> Point:
        return (self._along(value), self._plot[3] + 0.075) if self.horizontal else (0.085, self._along(value))

    def _draw_lines(self, pen: ImageDraw.ImageDraw, size: int) -> None:
        """A line for each whole number of the axis."""
        left, top, right, bottom = self._plot
        faint = self._faint()
        for value in range(self.axis + 1):
            at = self._along(value)
            ends = ((at, top), (at, bottom)) if self.horizontal else ((left, at), (right, at))
            pen.line([(round(x * size), round(y * size)) for x, y in ends], fill=faint if value else self.ink)

    def _faint(self) -> RGB:
        # From the paper's end that is nearer to the ink, or the lines are lost where a pattern comes near them.
        paper = self.paper.high if luma(self.ink) > luma(self.paper.high) else self.paper.low
        red, green, blue = (round(low + LINE_LIGHTNESS * (ink - low)) for low, ink in zip(paper, self.ink, strict=True))
        return red, green, blue

    def _region(self, index: int) -> Box:
        left, top, right, bottom = self.bar(index)
        if self.horizontal:
            return 0.0, top, min(1.0, right + (0.0 if self.axis else 0.12)), bottom
        width = text_extent(self.entries[index].label, self.font, EM)[0] / 2
        middle = (left + right) / 2
        top = max(0.0, top - (0.0 if self.axis else 0.13))
        return max(0.0, min(left, middle - width)), top, min(1.0, max(right, middle + width)), 1.0


@dataclass(frozen=True)
class Pie(_Chart):
    """Slices clockwise from the top, labels beside them, values on them."""

    layout: ClassVar[str] = "pie"
    names: ClassVar[dict[str, str]] = {"en": "A pie chart", "zh": "饼图"}
    part_names: ClassVar[dict[str, str]] = {"en": 'the slice "{}", {}', "zh": "扇形“{}”，{}"}
    radius: ClassVar[float] = 0.28
    words: ClassVar[dict[str, dict[str, str]]] = {
        "en": {"part": "slice", "most": "largest", "least": "smallest"},
        "zh": {"part": "扇形", "measure": "个", "most": "最大", "least": "最小"},
    }

    def slice(self, index: int) -> tuple[float, float]:
        """The first and the last angle of slice number `index`, in degrees clockwise from the right."""
        values = [entry.value for entry in self.entries]
        degree = 360 / sum(values)
        first = TOP + degree * sum(values[:index])
        return first, first + degree * values[index]

    def _texts(self) -> list[_Text]:
        """Each label, then the value on its slice."""
        texts = []
        for index, entry in enumerate(self.entries):
            left, top, right, bottom = self.label_box(index)
            texts.append(_Text(entry.label, ((left + right) / 2, (top + bottom) / 2), self.ink))
            ink = PALETTE["black"] if luma(entry.colour) > 110 else PALETTE["white"]
            texts.append(_Text(str(entry.value), self._at(index, 0.66 * self.radius), ink))
        return texts

    def _draw_parts(self, canvas: Image.Image) -> None:
        fine = 3  # times as fine, then averaged: edges without steps
        side = max(1, round(2 * self.radius * canvas.width))
        disc = Image.new("RGB", (side * fine, side * fine), self.entries[0].colour)
        pen, frame = ImageDraw.Draw(disc), (-fine, -fine, (side + 1) * fine, (side + 1) * fine)
        for index, entry in enumerate(self.entries):
            pen.pieslice(frame, *self.slice(index), fill=entry.colour)
        mask = Image.new("L", disc.size)
        ImageDraw.Draw(mask).ellipse((0, 0, disc.width - 1, disc.height - 1), fill=255)
        corner = round(canvas.width / 2 - side / 2)
        canvas.paste(disc.reduce(fine), (corner, corner), mask.reduce(fine))

    def _at(self, index: int, distance: float) -> Point:
        """The point on the slice's middle line at a distance from the centre."""
        middle = math.radians(sum(self.slice(index)) / 2)
        return 0.5 + distance * math.cos(middle), 0.5 + distance * math.sin(middle)

    def label_box(self, index: int) -> Box:
        """Where the label is, just outside its slice: left, top, right and bottom as fractions of the side."""
        width, height = text_extent(self.entries[index].label, self.font, EM)
        middle = math.radians(sum(self.slice(index)) / 2)
        x, y = self._at(index, self.radius + 0.025)
        # The box touches that point with the side, or the corner, that looks at the pie.
        left, top = x - width / 2 * (1 - math.cos(middle)), y - height / 2 * (1 - math.sin(middle))
        return left, top, left + width, top + height

    def _region(self, index: int) -> Box:
        (first, last), steps = self.slice(index), 16
        angles = [math.radians(first + (last - first) * step / steps) for step in range(steps + 1)]
        left, top, right, bottom = self.label_box(index)
        across = [0.5, left, right, *(0.5 + self.radius * math.cos(angle) for angle in angles)]
        down = [0.5, top, bottom, *(0.5 + self.radius * math.sin(angle) for angle in angles)]
        return min(across), min(down), max(across), max(down)


def random_bars(rng: random.Random, unseen: Collection[str] = ()) -> Bars:
    """A random bar chart; "font" in `unseen` takes typefaces that are kept from training."""
    horizontal, values = rng.random() < 0.35, _values(rng)
    axis = 0
    if rng.random() < AXIS_SHARE:
        axis = 6 if max(values) <= 6 and rng.random() < 0.7 else MOST_VALUE
    while True:
        paper, ink, colours, font = _materials(rng, len(values), unseen)
        if rng.random() < 0.5:
            colours = colours[:1] * len(values)
        chart = Bars(_entries(rng, values, colours), font, ink, paper, rng.getrandbits(32), horizontal, axis)
        if _bars_fit(chart):
            return chart


def random_pie(rng: random.Random, unseen: Collection[str] = ()) -> Pie:
    """A random pie; "font" in `unseen` takes typefaces that are kept from training."""
    values = _values(rng)
    while min(values) < LEAST_SLICE * sum(values):
        values = _values(rng)
    while True:
        paper, ink, colours, font = _materials(rng, len(values), unseen)
        chart = Pie(_entries(rng, values, colours), font, ink, paper, rng.getrandbits(32))
        if _pie_fits(chart):
            return chart


def _values(rng: random.Random) -> list[int]:
    count = rng.randint(2, MOST_BARS)
    if rng.random() < DISTINCT_SHARE:
        return rng.sample(range(1, MOST_VALUE + 1), count)
    return [rng.randint(1, MOST_VALUE) for _ in range(count)]


def _materials(rng: random.Random, count: int, unseen: Collection[str]) -> tuple[Paper, RGB, list[RGB], str]:
    """Paper, ink, `count` different colours, all of which can be told from the paper, and a typeface."""
    font = rng.choice(HELD_OUT_FONTS if "font" in unseen else FONTS)
    bright = [colour for name, colour in PALETTE.items() if name not in ("black", "white")]
    while True:
        paper = choose_paper(rng)
        inks = [PALETTE[name] for name in ("black", "white") if readable_on(paper, PALETTE[name])]
        colours = [colour for colour in bright if stands_out(paper, colour, FAR_FROM_PAPER)]
        if inks and len(colours) >= count:
            return paper, rng.choice(inks), rng.sample(colours, count), font


def _entries(rng: random.Random, values: list[int], colours: list[RGB]) -> tuple[Entry, ...]:
    pool = LABELS if rng.random() < 0.8 else LETTERS
    labels = rng.sample(pool, len(values))
    rows = zip(labels, values, colours, strict=True)
    return tuple(Entry(label, value, jittered(rng, colour)) for label, value, colour in rows)


def _bars_fit(chart: Bars) -> bool:
    widths = [text_extent(entry.label, chart.font, EM)[0] for entry in chart.entries]
    if chart.horizontal:
        return max(widths) <= MOST_LABEL
    left, _, right, _ = chart.bar(0)
    return max(widths) <= (right - left) / (1 - 2 * GAP) - 2 * MARGIN


def _pie_fits(chart: Pie) -> bool:
    """Whether every label is inside the picture and clear of its neighbours."""
    boxes = [chart.label_box(index) for index in range(len(chart.entries))]
    inside = all(min(box) >= MARGIN and max(box) <= 1 - MARGIN for box in boxes)
    return inside and not any(_meet(one, other) for one, other in combinations(boxes, 2))


def _meet(one: Box, other: Box) -> bool:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across > -MARGIN and down > -MARGIN
