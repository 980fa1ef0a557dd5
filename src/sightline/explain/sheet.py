"""The contact sheet of an explanation, as PNG: a row for each word, its maps beside the picture. `write_sheet`.

It knows no model; colours are `heat`'s, letters `lettering`'s.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from sightline.explain.explanation import Explanation, Word
from sightline.explain.heat import levels, overlay
from sightline.explain.lettering import lettering
from sightline.whole_file import LEFTOVER

__all__ = ["draw_sheet", "write_sheet"]

SIDE = 200  # pixels of the longer side of a picture
LABEL = 220  # pixels of the labels' column
GAP = 10
WORD, SMALL = 26, 15  # pixels of a letter
PAPER, INK, QUIET = "#ffffff", "#1d1f21", "#5f6569"


def write_sheet(
    path: Path, explanation: Explanation, pictures: Sequence[Image.Image], question: str, software: str = ""
) -> Path:
    """Write the sheet to `path`, whole or not at all, and return the path. `software` is named in the file."""
    about = PngInfo()
    about.add_text("Software", software)
    data = io.BytesIO()
    draw_sheet(explanation, pictures, question).save(data, "PNG", pnginfo=about)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(LEFTOVER + path.name)
    beside.write_bytes(data.getvalue())
    beside.replace(path)
    return path


def draw_sheet(explanation: Explanation, pictures: Sequence[Image.Image], question: str) -> Image.Image:
    """The question, a heading for each column, and a row for each word: label, picture, attention, occlusion."""
    small = [_fitted(picture) for picture in pictures]
    kinds = ("attention", "occlusion") if explanation.window else ("attention",)
    row = max(picture.height for picture in small) + GAP
    head = GAP + (WORD + GAP) + (SMALL + GAP)
    width = LABEL + GAP + sum((1 + len(kinds)) * (picture.width + GAP) for picture in small)
    sheet = Image.new("RGB", (width, head + row * len(explanation.words)), PAPER)
    pen = ImageDraw.Draw(sheet)
    _write(pen, (GAP, GAP), f"{question}  {explanation.answer}", WORD, INK, width - 2 * GAP)
    for number, word in enumerate(explanation.words):
        top = head + row * number
        _label(pen, word, top)
        left = LABEL + GAP
        for index, picture in enumerate(small):
            cells = [("picture", picture)]
            for kind in kinds:
                heat = levels(word, kind)[0][index]
                cells.append((kind, overlay(picture, heat, explanation.regions[index])))
            for heading, cell in cells:
                if number == 0:
                    title = "lost when hidden" if heading == "occlusion" else heading
                    _write(pen, (left, head - SMALL - GAP), title, SMALL, QUIET, cell.width)
                sheet.paste(cell, (left, top))
                left += cell.width + GAP
    return sheet


def _fitted(picture: Image.Image) -> Image.Image:
    scale = SIDE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _label(pen: ImageDraw.ImageDraw, word: Word, top: int) -> None:
    lines = [f"probability {word.probability:.1%}", f"{word.on_pictures:.0%} of attention on pictures"]
    if word.worst is not None:
        lines.append(f"largest loss {100 * word.loss:.1f} points")
    _write(pen, (GAP, top), word.text, WORD, INK, LABEL)
    for number, line in enumerate(lines):
        _write(pen, (GAP, top + WORD + GAP + number * (SMALL + 5)), line, SMALL, QUIET, LABEL)


def _write(pen: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size: int, colour: str, width: int) -> None:
    """One line, cut to `width` pixels."""
    shown, font = lettering(" ".join(text.split()), size)
    if font.getlength(shown) > width:
        while shown and font.getlength(shown + "...") > width:
            shown = shown[:-1]
        shown += "..."
    pen.text(corner, shown, colour, font)
