"""The page of an explanation: pictures under the heat of whichever word is pointed at. `write_page`.

It holds all that it shows, fetches nothing, and every text in it is escaped. It knows no model.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sightline.explain.explanation import Explanation, Word
from sightline.explain.heat import COLOUR_KEPT, STOPS, levels
from sightline.whole_file import write_whole

__all__ = ["write_page"]

PICTURE_SIDE = 640  # pixels; shown half the page wide, sharp on a phone too


def write_page(
    path: Path,
    explanation: Explanation,
    pictures: Sequence[Image.Image],
    question: str,
    facts: Mapping[str, object] | None = None,
    generator: str = "",
) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Args:
        pictures: those of the conversation, in order and upright.
        facts: names and values that are listed below, such as the model's.
        generator: named in the page's head.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sightline.explain", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("look.html.jinja").render(
        explanation=explanation,
        pieces=pieces(explanation),
        pictures=[(_data_uri(picture), picture.size) for picture in pictures],
        question=question,
        facts=facts or {},
        generator=generator,
        colour_kept=COLOUR_KEPT,
        data={"grid": explanation.grid, "stops": STOPS, "words": [_shown(word) for word in explanation.words]},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)
    return path


def pieces(explanation: Explanation) -> list[tuple[str, int | None]]:
    """The answer, cut into words with their numbers and what stands between them."""
    found: list[tuple[str, int | None]] = []
    position = 0
    for number, word in enumerate(explanation.words):
        found += [(explanation.answer[position : word.start], None), (word.text, number)]
        position = word.end
    return [(text, number) for text, number in [*found, (explanation.answer[position:], None)] if text]


def _shown(word: Word) -> dict[str, Any]:
    """What the script needs of a word: levels 0 to 255 in reading order, and what they and the numbers stand for."""
    maps = {}
    for kind in ("attention", "occlusion") if word.occlusion is not None else ("attention",):
        heat, scale = levels(word, kind)
        maps[kind] = {"scale": scale, "levels": np.rint(255 * heat).astype(int).reshape(len(heat), -1).tolist()}
    worst = word.worst and {"image": word.worst.image, "row": word.worst.row, "col": word.worst.col}
    left = word.worst and word.worst.probability
    shown = {"text": word.text, "probability": word.probability, "onPictures": word.on_pictures}
    return {**shown, "loss": word.loss, "left": left, "worst": worst, "maps": maps}


def _data_uri(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    data = io.BytesIO()
    small.save(data, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
