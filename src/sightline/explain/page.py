"""The page of an explanation: pictures under the heat of whichever word is pointed at. `write_page`.

It holds all that it shows, fetches nothing, and every text in it is escaped. It knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sightline.explain.explanation import Explanation, Word
from sightline.explain.heat import COLOUR_KEPT, STOPS, levels
from sightline.web_page import data_uri
from sightline.web_page import write_page as fill_in

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
    return fill_in(
        path,
        "sightline.explain",
        "look.html.jinja",
        {
            "explanation": explanation,
            "pieces": pieces(explanation),
            "pictures": [(data_uri(picture, PICTURE_SIDE, quality=88), picture.size) for picture in pictures],
            "question": question,
            "facts": facts or {},
            "generator": generator,
            "colour_kept": COLOUR_KEPT,
            "data": {"grid": explanation.grid, "stops": STOPS, "words": [_shown(word) for word in explanation.words]},
        },
    )


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
