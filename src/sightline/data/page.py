"""The pages of `sightline data`: rows as the model sees them, and figures drawn. `write_rows`, `write_figures`.

Each holds all that it shows, fetches nothing, and every text in it is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from sightline.data.seen import SeenRow
from sightline.data.statistics import Statistics
from sightline.web_page import data_uri, write_page

__all__ = ["MARK", "write_figures", "write_rows"]

MARK = "sightline data"  # in the pages' heads, so that they are known again
GIVEN_SIDE = 320  # pixels; of the picture as it lies
MOST = 20  # answers and questions that are drawn
FEW = 10  # bars that are drawn one below the other, with their labels


def write_rows(path: Path, title: str, rows: Sequence[SeenRow], facts: Mapping[str, object]) -> Path:
    """Write the page of `rows` to `path`, whole or not at all, and return the path."""
    values = {"title": title, "rows": rows, "facts": facts, "generator": MARK}
    pictures = {"given": lambda picture: data_uri(picture, GIVEN_SIDE, quality=85), "exact": _exact}
    return write_page(path, "sightline.data", "rows.html.jinja", values, pictures)


def write_figures(path: Path, title: str, found: Statistics, facts: Mapping[str, object]) -> Path:
    """Write the page of what `found` is made of to `path`, whole or not at all, and return the path."""
    values = {
        "title": title,
        "facts": facts,
        "generator": MARK,
        "answers": found.answers,
        "questions": found.questions,
        "most": MOST,
        "few": FEW,
        "numbers": {name: numbers for name, numbers in found.numbers.items() if len(numbers)},
    }
    return write_page(path, "sightline.data", "figures.html.jinja", values)


def _exact(picture: Image.Image) -> str:
    """The picture as a data URI, every pixel of it."""
    held = io.BytesIO()
    picture.save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
