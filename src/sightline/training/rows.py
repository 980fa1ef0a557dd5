"""What a stage is about to read, looked at before it trains: each row's size, and whether it can teach at all.

Files are read whole, without opening a picture; of the built-in world, which has no end, a sample is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from sightline.data.readers import Data
from sightline.data.sample import Sample, answers_of
from sightline.encoding import Row, share_trunk
from sightline.processor import VLMProcessor
from sightline.training.batches import StageBatches
from sightline.training.sources import FileGroups, Source

__all__ = ["GroupSize", "count_rows", "measure_groups", "odd_groups"]

WORLD_SAMPLE = 64  # pictures of the built-in world that are measured

_Limit: TypeAlias = tuple[int, str] | None


@dataclass(frozen=True)
class GroupSize:
    """A group of conversations about one picture as the model will read it."""

    source: int
    number: int
    origin: str
    tokens: int
    images: int
    supervised: int


class _Sizes(NamedTuple):
    """Tokens of the group's row, of its longest conversation, and which that is; pictures; tokens that carry loss."""

    tokens: int
    longest: int
    which: int
    images: int
    supervised: int


def measure_groups(
    data: StageBatches, position_limit: int | None = None, on_row: Callable[[int], None] | None = None
) -> list[GroupSize]:
    """The sizes of what `data` will deal out in one epoch.

    Args:
        position_limit: the model's `max_position_embeddings`, if it has one.
        on_row: hears how many of a file's rows have been read so far (`count_rows` are to be); not of a file that an
            earlier stage has had read with the same processor.

    Raises:
        ValueError: a row cannot be read, carries no loss, says nothing, has other pictures than placeholders, or is
            longer than the recipe or the model allows; the message names the row and the remedy.
    """
    limit = _limit(data.settings.max_length, position_limit)
    found = []
    for index, source in enumerate(data.sources):
        if isinstance(source, FileGroups):
            measured = _measured_file(source, data.processor, on_row)
            for group, row in enumerate(measured):
                _check_length(_Sizes(*row.tolist()), limit, partial(_where, source, group))
            sizes = [_Sizes(*measured[source.which(number)].tolist()) for number in range(len(source))]
        else:
            sizes = [_measured_world(source, number, data.processor, limit) for number in range(WORLD_SAMPLE)]
        found += [
            GroupSize(index, number, source.origin(number), one.tokens, one.images, one.supervised)
            for number, one in enumerate(sizes)
        ]
    return found


def count_rows(data: StageBatches) -> int:
    """How many rows of files `measure_groups` reads."""
    return sum(len(source.rows) for source in data.sources if isinstance(source, FileGroups))


# By file, and there with the processor: stages often read the same one.
_measured: WeakKeyDictionary[Data, tuple[VLMProcessor, np.ndarray]] = WeakKeyDictionary()


def _measured_file(source: FileGroups, processor: VLMProcessor, on_row: Callable[[int], None] | None) -> np.ndarray:
    """`_Sizes` of the file's groups, int32 [groups, 5]."""
    known = _measured.get(source.rows)
    if known is None or known[0] is not processor:
        sizes, rows = np.empty((len(source), len(_Sizes._fields)), dtype=np.int32), 0
        for group in range(len(source)):
            samples = source.samples(group)
            sizes[group] = _measure(samples, processor, partial(_where, source, group))
            rows += len(samples)
            if on_row is not None:
                on_row(rows)
        known = _measured[source.rows] = (processor, sizes)
    return known[1]


def _where(source: FileGroups, group: int, sample: int) -> str:
    return source.rows.where(source.members(group)[sample])


def _measured_world(source: Source, number: int, processor: VLMProcessor, limit: _Limit) -> _Sizes:
    def where(_: int) -> str:
        return source.origin(number)

    sizes = _measure(source.group(number), processor, where)
    _check_length(sizes, limit, where)
    return sizes


def _measure(group: Sequence[Sample], processor: VLMProcessor, where: Callable[[int], str]) -> _Sizes:
    """The sizes of a group, whose conversation `n` people call `where(n)`."""
    rows = [_row(sample, processor, partial(where, number)) for number, sample in enumerate(group)]
    lengths = [len(ids) for ids, _ in rows]
    longest = max(lengths)
    (ids, mask), _ = share_trunk(rows)
    return _Sizes(len(ids), longest, lengths.index(longest), len(group[0]["images"]), sum(mask))


def _row(sample: Sample, processor: VLMProcessor, where: Callable[[], str]) -> Row:
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


def _limit(max_length: int | None, position_limit: int | None) -> _Limit:
    """The lower of the two limits, and how a message calls it and its remedy."""
    limits = [
        (max_length, f"train.max_length {max_length}; shorten it or raise that"),
        (position_limit, f"the model's max_position_embeddings {position_limit}; shorten it or take the row out"),
    ]
    return min(((limit, text) for limit, text in limits if limit is not None), default=None)


def _check_length(sizes: _Sizes, limit: _Limit, where: Callable[[int], str]) -> None:
    if limit is not None and sizes.longest > limit[0]:
        raise ValueError(f"{where(sizes.which)}: its {sizes.longest} tokens are more than {limit[1]}")


def odd_groups(sizes: Sequence[GroupSize], batch: int, few: int) -> dict[str, list[GroupSize]]:
    """What a stage is most likely to fail on: a batch of the longest groups, and a `few` of each odd kind."""
    by_length = sorted(sizes, key=lambda one: one.tokens, reverse=True)
    by_images = sorted(sizes, key=lambda one: (one.images, one.tokens), reverse=True)
    without = [one for one in by_length if one.images == 0]
    longest = [by_length[place % len(by_length)] for place in range(batch)]
    odd = {
        "longest": longest,
        "shortest": by_length[-few:],
        "most pictures": by_images[:few],
        "no picture": without[:few],
    }
    if without and len(without) < len(sizes):
        odd["with and without pictures"] = [without[0], by_images[0]]
    return {name: groups for name, groups in odd.items() if groups}
