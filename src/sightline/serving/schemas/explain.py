"""`POST /v1/explain`: what the model looked at for every word of an answer, as `sightline explain --json` has it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sightline.serving.schemas.base import Answer, Request
from sightline.serving.schemas.chat import Message

__all__ = ["ExplainRequest", "Explained", "ExplainedWord", "HiddenWindow"]

_Count = Annotated[int, Field(ge=1)]
_Index = Annotated[int, Field(ge=0)]
# By picture, row and column of patches.
_Maps = list[list[list[float]]]


class ExplainRequest(Request):
    """A conversation with at least one picture, and the answer to explain. One is computed at a time."""

    messages: list[Message] = Field(min_length=1)
    answer: str | None = Field(None, description="The model's own, greedy and of at most 128 tokens, if not given.")
    occlusion: bool = Field(True, description="Also hide parts of the pictures and see what each word loses.")
    layer: _Index | None = Field(None, description="Attention of this layer alone, from 0; the mean of all otherwise.")
    head: _Index | None = Field(None, description="Attention of this head alone, from 0; the mean of all otherwise.")
    rollout: bool = Field(False, description="Follow attention through all layers (Abnar and Zuidema, 2020).")
    window: _Count | None = Field(None, description="Patches a side of what is hidden; a third of the picture's.")
    stride: _Count | None = Field(None, description="Patches from one window to the next; half a window.")


class HiddenWindow(Answer):
    """The window whose hiding costs a word most: of which picture, its first row and column, and what is left."""

    image: int
    row: int
    col: int
    log_probability: float


class ExplainedWord(Answer):
    """Characters `start` to `end` of the answer; probabilities are those of its tokens together.

    `attention` holds the weights on the patches, by picture, row and column, and `on_pictures` is their sum; what is
    missing to 1 went to text. `occlusion` holds the probability that the word loses when a patch is hidden.
    """

    text: str
    start: int
    end: int
    token_ids: list[int]
    probability: float
    log_probability: float
    on_pictures: float
    attention: _Maps
    occlusion: _Maps | None
    worst: HiddenWindow | None


class Explained(Answer):
    """The answer word by word.

    `grid` is rows and columns of patches. They lie on `regions`, what the model saw of each picture: left, top, right
    and bottom, as fractions of it. `window` and `stride` are null where nothing was hidden.
    """

    model: str
    answer: str
    grid: tuple[int, int]
    regions: list[tuple[float, float, float, float]]
    attention_from: str
    window: int | None
    stride: int | None
    words: list[ExplainedWord]
