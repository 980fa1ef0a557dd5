"""Whether a row can teach at all: it has tokens with loss, says something, has its pictures, and is not too long.

No picture is opened. Which rows are looked at, and when, is `rows.py`'s and `background.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from sightline.data.sample import Sample, answers_of
from sightline.encoding import Row
from sightline.processor import VLMProcessor

__all__ = ["Limit", "check_length", "checked_row", "limit_of"]

Limit: TypeAlias = tuple[int, str] | None


def checked_row(sample: Sample, processor: VLMProcessor, where: Callable[[], str]) -> Row:
    """A conversation's ids and loss mask; `where` names its row for people.

    Raises:
        ValueError: it carries no loss, says nothing, or has other pictures than placeholders; the message names the row
            and the remedy.
    """
    try:
        (row,), _ = processor.encode_rows([(sample["messages"], sample["images"])])
    except ValueError as error:
        raise ValueError(f"{where()}: {str(error).removeprefix('sample 0: ').removeprefix('sample 0 ')}") from None
    if 1 not in row[1]:
        raise ValueError(
            f"{where()}: no token of it carries loss; give it an assistant message with text, or take the row out"
        )
    if not all(text.strip() for text in answers_of(sample)):
        raise ValueError(f"{where()}: an assistant message of it says nothing; give it text, or take the row out")
    return row


def limit_of(max_length: int | None, position_limit: int | None) -> Limit:
    """The lower of the recipe's and the model's limit in tokens, and how a message calls it and its remedy."""
    limits = [
        (max_length, f"train.max_length {max_length}; shorten it or raise that"),
        (position_limit, f"the model's max_position_embeddings {position_limit}; shorten it or take the row out"),
    ]
    return min(((limit, text) for limit, text in limits if limit is not None), default=None)


def check_length(tokens: int, limit: Limit, where: Callable[[], str]) -> None:
    """Raise a ValueError where a row of so many tokens is longer than `limit`."""
    if limit is not None and tokens > limit[0]:
        raise ValueError(f"{where()}: its {tokens} tokens are more than {limit[1]}")
