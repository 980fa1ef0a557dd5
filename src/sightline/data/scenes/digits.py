"""Handwritten digits: one, or a number of two to four, in ink on paper; and what is asked of them.

The digits are real: people wrote them (Alpaydin and Kaynak, 1998). Every fifth is kept from training. An answer is
the number in digits, without a full stop. It does not know printed text, or the other layouts.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from io import BytesIO

from PIL import Image, ImageOps

from sightline.data.scenes.augment import finish
from sightline.data.scenes.backgrounds import Paper, background, choose_paper, readable_on
from sightline.data.scenes.colours import PALETTE, RGB, jittered
from sightline.data.scenes.language import sentence
from sightline.data.scenes.panel_phrasings import Found

__all__ = ["COLUMNS", "DIGIT_KINDS", "LEVELS", "SIDE", "Digit", "Digits", "digit_count", "digit_label", "random_digits"]

SIDE, LEVELS, COLUMNS = 8, 16, 43  # of the sheet: pixels a digit, its darkest ink, digits a row
TEST_EVERY = 5
ONE_SHARE, MOST = 0.5, 4
ONE_COUNTED_SHARE = 0.4  # how often a single digit is counted, which would be every second answer
RIM = 1  # pixels of the sheet, around a digit: room for its edge
MOST_TURN = 7.0  # degrees
ENLARGED = 4  # times, before the ink's edge is drawn sharp


@dataclass(frozen=True)
class Digit:
    """Digit number `index` of the sheet, and the square in which it is drawn, with a rim around what was written.

    Lengths are fractions of the picture's side, `angle` is in degrees.
    """

    index: int
    x: float
    y: float
    side: float
    angle: float

    @property
    def label(self) -> str:
        return digit_label(self.index)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what was written on, as fractions of the picture's side."""
        half = self.side / 2 * SIDE / (SIDE + 2 * RIM)
        return self.x - half, self.y - half, self.x + half, self.y + half


@dataclass(frozen=True)
class Digits:
    """Digits in a row, from left to right; `look` seeds how they are drawn."""

    items: tuple[Digit, ...]
    ink: RGB
    paper: Paper
    look: int
    layout: str = "digits"

    @property
    def number(self) -> str:
        """All digits, read from left to right."""
        return "".join(item.label for item in self.items)

    def draw(self, size: int) -> Image.Image:
        """The digits as an RGB picture of `size` x `size` pixels."""
        rng = random.Random(self.look)
        canvas = background(self.paper, rng.getrandbits(32), size)
        for item in self.items:
            side = max(1, round(item.side * size))
            mask = _ink(item.index).resize((side, side), Image.Resampling.BICUBIC)
            mask = mask.rotate(item.angle, Image.Resampling.BICUBIC)
            canvas.paste(self.ink, (round(item.x * size - side / 2), round(item.y * size - side / 2)), mask)
        return finish(canvas, rng)

    def regions(self, language: str) -> list[tuple[tuple[float, float, float, float], str]]:
        """Where each digit is (left, top, right, bottom, as fractions of the side), and which it is."""
        name = "the handwritten digit {}" if language == "en" else "手写数字{}"
        return [(item.box, name.format(item.label)) for item in self.items]

    def describe(self, language: str) -> str:
        """What is written, in words."""
        if len(self.items) == 1:
            text = f"the handwritten digit {self.number}" if language == "en" else f"手写的数字{self.number}"
        else:
            count = len(self.items)
            text = (
                f"{count} handwritten digits, {self.number}"
                if language == "en"
                else f"{count}个手写的数字，{self.number}"
            )
        return sentence(text, language)


def random_digits(rng: random.Random, unseen: Collection[str] = ()) -> Digits:
    """Random digits; with "digit" in `unseen`, of those that are kept from training."""
    paper = choose_paper(rng)
    inks = [colour for colour in PALETTE.values() if readable_on(paper, colour)]
    count = 1 if rng.random() < ONE_SHARE else rng.randint(2, MOST)
    indices = [_index(rng, "digit" in unseen) for _ in range(count)]
    side = rng.uniform(0.4, 0.95) if count == 1 else rng.uniform(0.75, 1.0) * min(0.96 / count, 0.4)
    left = rng.uniform(0.01, 0.99 - side * count)
    y = side / 2 + rng.uniform(0.01, 0.99 - side)
    items = []
    for position, index in enumerate(indices):
        x = left + side * (position + 0.5)
        items.append(Digit(index, x, y, side, rng.uniform(-MOST_TURN, MOST_TURN)))
    return Digits(tuple(items), jittered(rng, rng.choice(inks)), paper, rng.getrandbits(32))


def _index(rng: random.Random, test: bool) -> int:
    """A digit of the sheet: one of those whose number is a multiple of TEST_EVERY for testing, or of the others."""
    while True:
        index = rng.randrange(digit_count())
        if (index % TEST_EVERY == 0) == test:
            return index


@lru_cache(maxsize=1)
def _labels() -> str:
    return (resources.files("sightline") / "assets" / "digits" / "labels.txt").read_text(encoding="utf-8").strip()


def digit_count() -> int:
    """How many digits there are on the sheet."""
    return len(_labels())


def digit_label(index: int) -> str:
    """Which digit the sheet's number `index` is, as text."""
    return _labels()[index]


@lru_cache(maxsize=1)
def _sheet() -> Image.Image:
    data = (resources.files("sightline") / "assets" / "digits" / "digits.png").read_bytes()
    return Image.open(BytesIO(data)).convert("L")


@lru_cache(maxsize=2048)
def _ink(index: int) -> Image.Image:
    """The digit's mask, enlarged, with a rim and its edge between half and full ink."""
    left, top = index % COLUMNS * SIDE, index // COLUMNS * SIDE
    tile = ImageOps.expand(_sheet().crop((left, top, left + SIDE, top + SIDE)), RIM)
    large = tile.resize((tile.width * ENLARGED, tile.height * ENLARGED), Image.Resampling.BICUBIC)
    return large.point([min(255, max(0, 2 * level - 90)) for level in range(256)])


def _digit(panel: Digits, rng: random.Random, language: str) -> Found | None:
    return ({}, panel.number) if len(panel.items) == 1 else None


def _digits(panel: Digits, rng: random.Random, language: str) -> Found | None:
    return ({}, panel.number) if len(panel.items) > 1 else None


def _digits_count(panel: Digits, rng: random.Random, language: str) -> Found | None:
    if len(panel.items) == 1 and rng.random() >= ONE_COUNTED_SHARE:
        return None
    return {}, str(len(panel.items))


DIGIT_KINDS = {"digit": _digit, "digits": _digits, "digits_count": _digits_count}
