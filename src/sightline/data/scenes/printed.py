"""Printed words and numbers: one to three of them, in typefaces, sizes, colours and places; and what is asked of them.

An answer is the text as it is printed, in lower case, without a full stop; several stand in quotation marks. It does
not know letters' outlines, or the other layouts.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass

from PIL import Image

from sightline.data.scenes.augment import finish
from sightline.data.scenes.backgrounds import Paper, background, choose_paper, readable_on
from sightline.data.scenes.colours import PALETTE, RGB, jittered
from sightline.data.scenes.fonts import FONTS, HELD_OUT_FONTS, letter_boxes, paste_text, text_box, text_extent
from sightline.data.scenes.language import COLOUR_WORDS, PLACES, QUOTES, join, sentence
from sightline.data.scenes.panel_phrasings import Found, word_there
from sightline.data.scenes.words import HELD_OUT_NUMBERS, HELD_OUT_WORDS, NUMBERS, NUMERALS, WORDS, is_held_out

__all__ = ["PRINTED_KINDS", "Print", "Printed", "random_printed"]

LEAST_EM, MOST_EM = 0.15, 0.42  # height of a line, of the picture: at 224 pixels an x is about 14 pixels high or more
WORD_SHARE = 0.65  # the rest are numbers
MOST_ASIDE = 0.08  # how far one of several prints may be from its slot's centre, either way
MOST_TURN = 9.0  # degrees
MARGIN = 0.02

# (row, column) of the 3 x 3 cells, as in `language.PLACES`, and the slot (left, top, right, bottom).
Slot = tuple[tuple[int, int], tuple[float, float, float, float]]
ARRANGEMENTS: tuple[tuple[float, tuple[Slot, ...]], ...] = (
    (0.5, (((1, 1), (0.0, 0.0, 1.0, 1.0)),)),
    (0.2, (((0, 1), (0.0, 0.0, 1.0, 0.47)), ((2, 1), (0.0, 0.53, 1.0, 1.0)))),
    (0.1, (((1, 0), (0.0, 0.0, 0.49, 1.0)), ((1, 2), (0.51, 0.0, 1.0, 1.0)))),
    (0.2, (((0, 1), (0.0, 0.0, 1.0, 0.33)), ((1, 1), (0.0, 0.34, 1.0, 0.66)), ((2, 1), (0.0, 0.67, 1.0, 1.0)))),
)


@dataclass(frozen=True)
class Print:
    """A word or a number on the page. Lengths are fractions of the picture's side, `angle` is in degrees."""

    text: str
    font: str
    colour: str
    ink: RGB
    row: int
    col: int
    x: float
    y: float
    em: float
    angle: float

    @property
    def is_word(self) -> bool:
        return self.text.isalpha()

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the ink, as fractions of the picture's side."""
        return text_box(self.text, self.font, self.em, (self.x, self.y), self.angle)

    @property
    def letters(self) -> list[tuple[tuple[float, float, float, float], str]]:
        """The box of each letter or digit, as `box`, and which it is."""
        return letter_boxes(self.text, self.font, self.em, (self.x, self.y), self.angle)


@dataclass(frozen=True)
class Printed:
    """A page with one to three prints, from top to bottom or left to right; `look` seeds how it is drawn."""

    items: tuple[Print, ...]
    paper: Paper
    look: int
    layout: str = "printed"

    def draw(self, size: int) -> Image.Image:
        """The page as an RGB picture of `size` x `size` pixels."""
        rng = random.Random(self.look)
        canvas = background(self.paper, rng.getrandbits(32), size)
        for item in self.items:
            centre = (item.x * size, item.y * size)
            paste_text(canvas, item.text, item.font, item.em * size, centre, item.ink, item.angle)
        return finish(canvas, rng)

    def regions(self, language: str) -> list[tuple[tuple[float, float, float, float], str]]:
        """Where each print is (left, top, right, bottom, as fractions of the side), and what it is; then its letters.

        A word is one of hundreds, and a letter one of 26: who can read letters soon reads words.
        """
        prints = [(item.box, _definite(item, language)) for item in self.items]
        marks = QUOTES[language]
        return prints + [(box, marks.format(letter)) for item in self.items for box, letter in item.letters]

    def describe(self, language: str) -> str:
        """The page in words: what is printed, in which colour, and where if there are several."""
        named = [_definite(item, language, coloured=True) for item in self.items]
        if len(self.items) == 1:
            return sentence(f"{named[0]} is printed" if language == "en" else f"图中印着{named[0]}", language)
        places = [PLACES[language][item.row][item.col] for item in self.items]
        clauses = [
            f"{name} is {place}" if language == "en" else f"{place}是{name}"
            for name, place in zip(named, places, strict=True)
        ]
        return sentence(join(clauses, language), language)


def random_printed(rng: random.Random, unseen: Collection[str] = ()) -> Printed:
    """A random page; "word" and "font" in `unseen` take those that are kept from training."""
    _, slots = rng.choices(ARRANGEMENTS, [share for share, _ in ARRANGEMENTS])[0]
    paper = choose_paper(rng)
    # Black or white can be read on any paper.
    inks = [colour for colour in PALETTE if readable_on(paper, PALETTE[colour])]
    texts: list[str] = []
    items = [_print(rng, slot, texts, inks, unseen) for slot in slots]
    return Printed(tuple(items), paper, rng.getrandbits(32))


def _print(rng: random.Random, slot: Slot, taken: list[str], inks: list[str], unseen: Collection[str]) -> Print:
    """One print that fits the slot, in one of the inks; it repeats none of `taken`, to which it is added."""
    (row, col), (left, top, right, bottom) = slot
    width, height = right - left - 2 * MARGIN, bottom - top - 2 * MARGIN
    while True:
        text, font = _text(rng, unseen), rng.choice(HELD_OUT_FONTS if "font" in unseen else FONTS)
        angle = rng.uniform(-MOST_TURN, MOST_TURN) if rng.random() < 0.6 else 0.0
        wide, high = text_extent(text, font, 1.0, angle)
        largest = min(width / wide, height / high, MOST_EM)
        if text not in taken and largest >= LEAST_EM:
            break
    taken.append(text)
    em = rng.uniform(max(LEAST_EM, 0.5 * largest), largest)
    slack_x, slack_y = (width - wide * em) / 2, (height - high * em) / 2
    if right - left < 1 or bottom - top < 1:  # one of several: plainly at its place
        slack_x, slack_y = min(slack_x, MOST_ASIDE), min(slack_y, MOST_ASIDE)
    x = (left + right) / 2 + rng.uniform(-slack_x, slack_x)
    y = (top + bottom) / 2 + rng.uniform(-slack_y, slack_y)
    colour = rng.choice(inks)
    return Print(text, font, colour, jittered(rng, PALETTE[colour]), row, col, x, y, em, angle)


def _text(rng: random.Random, unseen: Collection[str]) -> str:
    if rng.random() < WORD_SHARE:
        return rng.choice(HELD_OUT_WORDS if "word" in unseen else WORDS)
    numbers = HELD_OUT_NUMBERS if "word" in unseen else NUMBERS
    longest = rng.randint(1, 3)  # else nine numbers in ten would have three digits
    fitting = [number for number in numbers if len(number) <= longest]
    return rng.choice(fitting or numbers)


def _definite(item: Print, language: str, coloured: bool = False) -> str:
    """`the word "apple"`, `the red number 42`; 单词“apple”, 红色的数字42."""
    colour = COLOUR_WORDS[language][item.colour] if coloured else ""
    if language == "en":
        named = f'word "{item.text}"' if item.is_word else f"number {item.text}"
        return f"the {colour} {named}" if colour else f"the {named}"
    named = f"单词“{item.text}”" if item.is_word else f"数字{item.text}"
    return f"{colour}的{named}" if colour else named


def _read(panel: Printed, is_word: bool) -> Found | None:
    items = [item for item in panel.items if item.is_word == is_word]
    # One word among numbers is "the word", and no place is needed.
    return ({}, items[0].text) if len(items) == 1 else None


def _word(panel: Printed, rng: random.Random, language: str) -> Found | None:
    return _read(panel, True)


def _number(panel: Printed, rng: random.Random, language: str) -> Found | None:
    # "seven" is a number, too.
    return None if any(item.text in NUMERALS for item in panel.items) else _read(panel, False)


def _read_at(panel: Printed, rng: random.Random, language: str) -> Found | None:
    if len(panel.items) == 1:
        return None
    item = rng.choice(panel.items)
    return {"place": PLACES[language][item.row][item.col]}, item.text


def _read_all(panel: Printed, rng: random.Random, language: str) -> Found | None:
    if len(panel.items) == 1:
        return None
    # In quotation marks, behind which a tokenizer spells: behind a space alone it would not.
    return {}, (", " if language == "en" else "、").join(QUOTES[language].format(item.text) for item in panel.items)


def _text_where(panel: Printed, rng: random.Random, language: str) -> Found | None:
    if len(panel.items) == 1:
        return None
    item = rng.choice(panel.items)
    place = sentence(PLACES[language][item.row][item.col], language)
    return {"text": _definite(item, language)}, place


def _word_exists(panel: Printed, rng: random.Random, language: str) -> Found | None:
    words = [item.text for item in panel.items if item.is_word]
    if not words:
        return None
    word, present = rng.choice(words), rng.random() < 0.5
    if not present:
        pool = HELD_OUT_WORDS if is_held_out(word) else WORDS
        # Half of the absent words look alike: the same first letter.
        near = [other for other in pool if other[0] == word[0]] if rng.random() < 0.5 else pool
        word = rng.choice(
            [other for other in near if other not in words] or [other for other in pool if other not in words]
        )
    return {"word": word}, word_there(present, language)


def _text_colour(panel: Printed, rng: random.Random, language: str) -> Found | None:
    item = rng.choice(panel.items)
    answer = sentence(COLOUR_WORDS[language][item.colour], language)
    return {"text": _definite(item, language)}, answer


def _text_describe(panel: Printed, rng: random.Random, language: str) -> Found | None:
    return ({}, panel.describe(language)) if len(panel.items) > 1 else None


PRINTED_KINDS = {
    "word": _word,
    "number": _number,
    "read_at": _read_at,
    "read_all": _read_all,
    "text_where": _text_where,
    "word_exists": _word_exists,
    "text_colour": _text_colour,
    "text_describe": _text_describe,
}
