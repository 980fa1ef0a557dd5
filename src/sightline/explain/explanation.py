"""What an explanation is: words with their maps, as plain data. It knows neither models nor pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Explanation", "Region", "Window", "Word"]

Map = np.ndarray  # float32 [images, rows, cols], a value for each patch of each picture
Region = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the picture


@dataclass(frozen=True)
class Window:
    """The window whose hiding costs a word most: of which picture, its first row and column, and what is left."""

    image: int
    row: int
    col: int
    log_probability: float

    @property
    def probability(self) -> float:
        """Of the word, with the window hidden."""
        return math.exp(self.log_probability)


@dataclass(frozen=True, eq=False)
class Word:
    """Characters `start` to `end` of the answer. Probabilities are those of its tokens together.

    `attention` holds the weights on the patches, the mean over the word's tokens; they and those on text sum to 1.
    `occlusion` holds the probability that the word loses when a patch is hidden, the mean over the windows that hide
    it; below zero where it gains. Without occlusion it and `worst` are None.
    """

    text: str
    start: int
    end: int
    token_ids: tuple[int, ...]
    log_probability: float
    attention: Map
    occlusion: Map | None = None
    worst: Window | None = None

    @property
    def probability(self) -> float:
        return math.exp(self.log_probability)

    @property
    def on_pictures(self) -> float:
        """The share of the attention that goes to pictures; the rest goes to text."""
        return float(self.attention.sum())

    @property
    def loss(self) -> float:
        """The probability that hiding the worst window takes away, at least 0."""
        return 0.0 if self.worst is None else max(0.0, self.probability - self.worst.probability)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: maps as nested lists."""
        worst = None
        if self.worst is not None:
            at = {"image": self.worst.image, "row": self.worst.row, "col": self.worst.col}
            worst = {**at, "log_probability": round(self.worst.log_probability, 5)}
        return {
            "text": self.text,
            "start": self.start,
            "end": self.end,
            "token_ids": list(self.token_ids),
            "probability": round(self.probability, 5),
            "log_probability": round(self.log_probability, 5),
            "on_pictures": round(self.on_pictures, 5),
            "attention": _lists(self.attention),
            "occlusion": None if self.occlusion is None else _lists(self.occlusion),
            "worst": worst,
        }


@dataclass(frozen=True, eq=False)
class Explanation:
    """An answer word by word.

    Maps lie on the `regions` of the pictures, what the model saw of them. `attention_from` says which layers and
    heads were looked at; `window` and `stride`, in patches, what was hidden (None: nothing was).
    """

    answer: str
    words: tuple[Word, ...]
    regions: tuple[Region, ...]
    attention_from: str
    window: int | None = None
    stride: int | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        _, rows, cols = self.words[0].attention.shape
        return rows, cols

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "answer": self.answer,
            "grid": list(self.grid),
            "regions": [[round(edge, 5) for edge in region] for region in self.regions],
            "attention_from": self.attention_from,
            "window": self.window,
            "stride": self.stride,
            "words": [word.as_dict() for word in self.words],
        }


def _lists(values: Map) -> list[Any]:
    return np.round(values.astype(float), 5).tolist()
