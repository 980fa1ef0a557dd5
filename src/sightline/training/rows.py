"""What a stage is about to read, looked at before it trains: each row's size, and whether it can teach at all.

Files are read whole, without opening a picture; of the built-in world, which has no end, a sample is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sightline.encoding import share_trunk
from sightline.training.batches import StageBatches
from sightline.training.sources import FileGroups, Source

__all__ = ["GroupSize", "measure_groups", "odd_groups"]

WORLD_SAMPLE = 64  # pictures of the built-in world that are measured


@dataclass(frozen=True)
class GroupSize:
    """A group of conversations about one picture as the model will read it."""

    source: int
    number: int
    origin: str
    tokens: int
    images: int
    supervised: int


def measure_groups(data: StageBatches) -> list[GroupSize]:
    """The sizes of what `data` will deal out.

    Raises:
        ValueError: a row cannot be read, carries no loss, has other pictures than placeholders, or is longer than
            the recipe allows; the message names the row and the remedy.
    """
    found = []
    for index, source in enumerate(data.sources):
        for number in _numbers(source):
            found.append(_measure(data, index, number))
    return found


def _numbers(source: Source) -> Iterator[int]:
    # One epoch's places hold each row once.
    yield from range(len(source.rows) if isinstance(source, FileGroups) else WORLD_SAMPLE)


def _measure(data: StageBatches, index: int, number: int) -> GroupSize:
    source = data.sources[index]
    origin = source.origin(number)
    pairs = [(one["messages"], one["images"]) for one in source.group(number)]
    try:
        rows, images = data.processor.encode_rows(pairs)
    except ValueError as error:
        raise ValueError(f"{origin}: {str(error).removeprefix('sample 0: ').removeprefix('sample 0 ')}") from None
    if any(1 not in mask for _, mask in rows):
        raise ValueError(
            f"{origin}: no token of it carries loss; give it an assistant message with text, or take the row out"
        )
    limit, longest = data.settings.max_length, max(len(ids) for ids, _ in rows)
    if limit is not None and longest > limit:
        raise ValueError(
            f"{origin}: its {longest} tokens are more than train.max_length {limit}; shorten it or raise that"
        )
    (ids, mask), _ = share_trunk(rows)
    return GroupSize(index, number, origin, len(ids), len(images[0]), sum(mask))


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
