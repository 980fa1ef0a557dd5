"""What a stage is about to read, looked at before it trains: each row's size, and whether it can teach at all.

Files of up to `WHOLE` rows are read whole, without opening a picture; of larger ones, of streams, and of the built-in
world, which has no end, a sample is measured. That all rows of a large file can teach is `large_files.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeGuard
from weakref import WeakKeyDictionary

import numpy as np

from sightline.data.readers import Data
from sightline.data.sample import Sample, sample_of
from sightline.encoding import share_trunk
from sightline.processor import VLMProcessor
from sightline.training.grouping import WHOLE
from sightline.training.large_files import LongRow
from sightline.training.row_checks import Limit, check_length, checked_row, limit_of
from sightline.training.sources import FileGroups, Source, WindowedGroups, WorldGroups
from sightline.training.streams import BLOCK_ROWS, StreamGroups

if TYPE_CHECKING:
    from sightline.training.batches import StageBatches

__all__ = [
    "GroupSize",
    "conversations_of",
    "count_rows",
    "largest_batches",
    "long_rows",
    "measure_groups",
    "odd_groups",
    "sampled_files",
    "where_at",
]

WORLD_SAMPLE = 64  # pictures of the built-in world that are measured, and as many places whatever stands there
MOST_LOOKED_AT = 6400  # places for them
SAMPLE = 2048  # rows of a large file
STRETCHES = 8  # of rows that follow each other, for what is packed together is read together


@dataclass(frozen=True)
class GroupSize:
    """A group of conversations about one picture as the model will read it.

    It stands at place `number` of the source, or is a single `row` of the source's file (`conversations_of`).
    """

    source: int
    number: int | None
    origin: str
    tokens: int
    images: int
    row: int | None = None


class _Sizes(NamedTuple):
    """Tokens of the group's row, of its longest conversation, and which that is; pictures."""

    tokens: int
    longest: int
    which: int
    images: int


def sampled_files(data: StageBatches) -> list[Data]:
    """The files of which `measure_groups` reads a part only, each once."""
    return list(dict.fromkeys(source.rows for source in data.sources if _is_sampled(source)))


def long_rows(data: StageBatches, longest: Sequence[Sequence[LongRow]]) -> list[GroupSize]:
    """The longest rows of each of the `sampled_files`, as groups of one."""
    of = dict(zip(sampled_files(data), longest, strict=True))
    return [
        GroupSize(index, None, source.rows.where(one.row), one.tokens, one.images, one.row)
        for index, source in enumerate(data.sources)
        if _is_sampled(source)
        for one in of[source.rows]
    ]


def conversations_of(data: StageBatches, one: GroupSize) -> list[Sample]:
    """The conversations of a group that was measured."""
    source = data.sources[one.source]
    if one.row is not None and _is_sampled(source):
        return [sample_of(source.rows[one.row])]
    assert one.number is not None
    return source.group(one.number)


def _is_sampled(source: Source) -> TypeGuard[FileGroups | WindowedGroups]:
    """Whether it is a file too large for each of its groups to be measured."""
    return isinstance(source, WindowedGroups) or (isinstance(source, FileGroups) and len(source.rows) > WHOLE)


def measure_groups(
    data: StageBatches, position_limit: int | None = None, on_row: Callable[[int], None] | None = None
) -> list[GroupSize]:
    """The sizes of what `data` will deal out in one epoch; of large files and the world, of a part of it.

    Args:
        position_limit: the model's `max_position_embeddings`, if it has one.
        on_row: hears of how many more rows of files have been read; not of a file that an earlier stage has had read
            with the same processor.

    Raises:
        ValueError: a row cannot be read, carries no loss, says nothing, has other pictures than placeholders, or is
            longer than the recipe or the model allows; the message names the row and the remedy.
    """
    limit = limit_of(data.settings.max_length, position_limit)
    found = []
    for index, source in enumerate(data.sources):
        if isinstance(source, FileGroups) and not _is_sampled(source):
            measured = _measured_file(source, data.processor, on_row)
            for group, row in enumerate(measured):
                _check_length(_Sizes(*row.tolist()), limit, partial(_where, source, group))
            sizes = [(number, _Sizes(*measured[source.which(number)].tolist())) for number in range(len(source))]
        else:
            sizes = list(_measured_places(source, data.processor, limit, on_row))
        found += [GroupSize(index, number, source.origin(number), one.tokens, one.images) for number, one in sizes]
    return found


def count_rows(data: StageBatches) -> int:
    """How many rows of files are read before the first step."""
    files = [one for one in data.sources if isinstance(one, (FileGroups, WindowedGroups))]
    measured = sum(SAMPLE if _is_sampled(one) else len(one.rows) for one in files)
    return measured + (sum(map(len, sampled_files(data))) if data.checks_rows else 0)


# By file, and there with the processor: stages often read the same one.
_measured: WeakKeyDictionary[Data, tuple[VLMProcessor, np.ndarray]] = WeakKeyDictionary()


def _measured_file(source: FileGroups, processor: VLMProcessor, on_row: Callable[[int], None] | None) -> np.ndarray:
    """`_Sizes` of the file's groups, int32 [groups, 4]."""
    known = _measured.get(source.rows)
    if known is None or known[0] is not processor:
        sizes = np.empty((len(source), len(_Sizes._fields)), dtype=np.int32)
        for group in range(len(source)):
            samples = source.samples(group)
            sizes[group] = _measure(samples, processor, partial(_where, source, group))
            if on_row is not None:
                on_row(len(samples))
        known = _measured[source.rows] = (processor, sizes)
    return known[1]


def _where(source: FileGroups, group: int, sample: int) -> str:
    return source.rows.where(source.members(group)[sample])


def _measured_places(
    source: Source, processor: VLMProcessor, limit: Limit | None, on_row: Callable[[int], None] | None
) -> Iterator[tuple[int, _Sizes]]:
    """Places of a source, and the sizes of what stands there: enough of them to tell what it is like."""
    rows = 0
    for number in _places(source):
        group = source.group(number)
        where = partial(where_at, source, number)
        sizes = _measure(group, processor, where)
        _check_length(sizes, limit, where, isinstance(source, WorldGroups))
        yield number, sizes
        rows += len(group)
        if on_row is not None and _is_sampled(source):
            on_row(len(group))
        if isinstance(source, WindowedGroups) and rows >= SAMPLE:
            return


def _places(source: Source) -> Iterator[int]:
    """Where to look: of a file the first window, which is from all over it, or stretches that are."""
    if isinstance(source, WindowedGroups):
        yield from range(SAMPLE)
    elif isinstance(source, StreamGroups):
        yield from range(BLOCK_ROWS)
    elif isinstance(source, FileGroups):
        long = SAMPLE // STRETCHES
        for start in np.linspace(0, len(source) - long, STRETCHES).astype(int).tolist():
            yield from (source.place_of(index) for index in range(start, start + long))
    elif isinstance(source, WorldGroups):
        pictures = (number for number in range(MOST_LOOKED_AT) if not source.is_exercise(number))
        yield from sorted({*range(WORLD_SAMPLE), *islice(pictures, WORLD_SAMPLE)})
    else:
        yield from range(WORLD_SAMPLE)


def where_at(source: Source, number: int, sample: int) -> str:
    """Where conversation `sample` of the group at place `number` comes from, for people."""
    if isinstance(source, FileGroups):
        return _where(source, source.which(number), sample)
    if isinstance(source, WindowedGroups):
        return source.rows.where(source.members(number)[sample])
    return source.origin(number)


def _measure(group: Sequence[Sample], processor: VLMProcessor, where: Callable[[int], str]) -> _Sizes:
    """The sizes of a group, whose conversation `n` people call `where(n)`."""
    rows = [checked_row(sample, processor, partial(where, number)) for number, sample in enumerate(group)]
    lengths = [len(ids) for ids, _ in rows]
    longest = max(lengths)
    (ids, _), _ = share_trunk(rows)
    return _Sizes(len(ids), longest, lengths.index(longest), len(group[0]["images"]))


def _check_length(sizes: _Sizes, limit: Limit | None, where: Callable[[int], str], drawn: bool = False) -> None:
    check_length(sizes.longest, limit, partial(where, sizes.which), drawn)


def largest_batches(sizes: Sequence[GroupSize], batch: int) -> dict[str, list[GroupSize]]:
    """A batch of the longest groups; and one of those with most pictures where it has more than that: a tower may hold
    more than long rows need elsewhere."""
    by_length = sorted(sizes, key=lambda one: one.tokens, reverse=True)
    longest, pictures = ([some[place % len(some)] for place in range(batch)] for some in (by_length, _by_images(sizes)))
    more = sum(one.images for one in pictures) > sum(one.images for one in longest)
    return {"longest": longest, **({"most pictures": pictures} if more else {})}


def odd_groups(sizes: Sequence[GroupSize], few: int) -> dict[str, list[GroupSize]]:
    """A `few` groups of each odd kind that a stage may fail on; with and without pictures where `few` are two."""
    by_length = sorted(sizes, key=lambda one: one.tokens, reverse=True)
    by_images = _by_images(sizes)
    without = [one for one in by_length if one.images == 0]
    odd = {"shortest": by_length[-few:], "most pictures": by_images[:few], "no picture": without[:few]}
    if without and len(without) < len(sizes) and few > 1:
        odd["with and without pictures"] = [without[0], by_images[0]]
    return {name: groups for name, groups in odd.items() if groups}


def _by_images(sizes: Sequence[GroupSize]) -> list[GroupSize]:
    return sorted(sizes, key=lambda one: (one.images, one.tokens), reverse=True)
