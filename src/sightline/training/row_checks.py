"""Whether a row can teach at all: it has tokens with loss, says something, has its pictures, and is not too long.

No picture is opened. Which rows are looked at, and when, is `rows.py`'s, `large_files.py`'s and `batches.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from sightline.data.sample import Sample, answers_of
from sightline.encoding import IGNORED_LABEL, Row
from sightline.processor import VLMProcessor

__all__ = ["BEGIN_ANEW", "CannotTeach", "Limit", "can_teach", "check_length", "checked_row", "limit_of"]


# Behind what is wrong with a row that is met while a run is under way: rows are known by their bytes.
BEGIN_ANEW = "; a run goes on with no other rows, so begin anew then"


class CannotTeach(ValueError):
    """A row can be read, but not learned from; the message names it and the remedy."""


class Limit(NamedTuple):
    """The most tokens of a row, what a message calls that, and what helps: of a file's row, and of a drawn picture."""

    tokens: int
    name: str
    remedy: str
    drawn: str


def can_teach(groups: Sequence[Sequence[Sample]], batch: dict[str, Tensor]) -> bool:
    """Whether `checked_row` would take every conversation of a micro-batch, told from what has been encoded already.

    Args:
        groups: the conversations, group by group.
        batch: what `encode_groups_for_training` has made of them: `labels` int64 `[groups, seq]`, and `branch_ids`
            where a group has several conversations.
    """
    if not all(text.strip() for group in groups for sample in group for text in answers_of(sample)):
        return False
    carry = batch["labels"] != IGNORED_LABEL
    if "branch_ids" not in batch:
        return bool(carry.any(dim=1).all()) and all(len(group) == 1 for group in groups)
    rows = zip(groups, carry, batch["branch_ids"], strict=True)
    return all(len(branches[tokens].unique()) >= len(group) for group, tokens, branches in rows)


def checked_row(sample: Sample, processor: VLMProcessor, where: Callable[[], str]) -> Row:
    """A conversation's ids and loss mask; `where` names its row for people.

    Raises:
        CannotTeach: it carries no loss, or says nothing; the message names the row and the remedy.
        ValueError: it has other pictures than placeholders; the message names the row.
    """
    try:
        (row,), _ = processor.encode_rows([(sample["messages"], sample["images"])])
    except ValueError as error:
        raise ValueError(f"{where()}: {str(error).removeprefix('sample 0: ').removeprefix('sample 0 ')}") from None
    if 1 not in row[1]:
        raise CannotTeach(
            f"{where()}: no token of it carries loss; give it an assistant message with text, or take the row out"
        )
    if not all(text.strip() for text in answers_of(sample)):
        raise CannotTeach(f"{where()}: an assistant message of it says nothing; give it text, or take the row out")
    return row


def limit_of(max_length: int | None, position_limit: int | None) -> Limit | None:
    """The lower of the recipe's and the model's limit in tokens."""
    fewer = "give the kinds that say much the weight 0 in data.world.mix, or pair in data.world.layouts"
    limits = []
    if max_length is not None:
        name = f"train.max_length {max_length}"
        limits.append(Limit(max_length, name, "shorten it or raise that", f"raise that, or {fewer}"))
    if position_limit is not None:
        name = f"the model's max_position_embeddings {position_limit}"
        limits.append(Limit(position_limit, name, "shorten it or take the row out", fewer))
    return min(limits, default=None)


def check_length(tokens: int, limit: Limit | None, where: Callable[[], str], drawn: bool = False) -> None:
    """Refuse a row of so many tokens that is longer than `limit`; `drawn` is whether it asks about the built-in world.

    Raises:
        CannotTeach: it is longer; the message names the row, both numbers and the remedy.
    """
    if limit is not None and tokens > limit.tokens:
        remedy = limit.drawn if drawn else limit.remedy
        raise CannotTeach(f"{where()}: its {tokens} tokens are more than {limit.name}; {remedy}")
