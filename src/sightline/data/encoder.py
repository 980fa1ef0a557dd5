"""What is asked of a processor here, and the sizes it gives: `Encoder` and `size_of`.

A `VLMProcessor` is one. It is handed in rather than imported: data knows neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sightline.data.sample import Sample, answers_of

__all__ = ["Encoder", "Size", "answer_cut_at", "size_of"]


class Encoder(Protocol):
    """Turns conversations into ids, with 1 where a token carries loss, and ids back into text."""

    image_token_id: int
    num_image_tokens: int
    tokenizer: Any
    image_processor: Any

    def encode_rows(self, pairs: Sequence[Any], max_length: int | None = None) -> tuple[list[Any], list[Any]]: ...

    def encode_text(self, text: str) -> list[int]: ...

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Size:
    """A conversation's tokens: all, those that carry loss, pictures' and each answer's own; and its pictures."""

    tokens: int
    supervised: int
    of_pictures: int
    answers: tuple[int, ...]
    images: int
    mask: Sequence[int]


def size_of(sample: Sample, encoder: Encoder) -> Size:
    """The size of a sample, no picture of which is opened. Raises ValueError as `VLMProcessor.encode_rows`."""
    ((ids, mask),), _ = encoder.encode_rows([(sample["messages"], sample["images"])])
    answers = tuple(len(encoder.encode_text(text)) for text in answers_of(sample))
    return Size(len(ids), sum(mask), ids.count(encoder.image_token_id), answers, len(sample["images"]), mask)


def answer_cut_at(size: Size, length: int) -> int:
    """How many tokens that carry loss would be lost if a conversation were cut at `length` tokens."""
    return sum(size.mask[length:])
