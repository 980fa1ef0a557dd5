"""What a preflight takes through a step: batches of a stage's odd rows, and its largest ones with a smaller like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sightline.training.batches import MicroBatch, RegionBatches, StageBatches
from sightline.training.large_files import check_rows
from sightline.training.row_checks import limit_of
from sightline.training.rows import (
    GroupSize,
    conversations_of,
    largest_batches,
    long_rows,
    measure_groups,
    odd_groups,
    sampled_files,
)

__all__ = ["Plan", "Rehearsal", "plan_of"]

REGION_BATCHES = 4  # drawn to take the largest: in either language with and without places; one takes a second
FEW = 2  # rows of each odd kind that are rehearsed beside the full batches
NAMED = 3  # rows that a message names


@dataclass(frozen=True)
class Rehearsal:
    """A micro-batch, how its rows are odd, and where these come from.

    `like` is a smaller batch of such rows, by which a full one is judged before it is tried.
    """

    name: str
    batch: MicroBatch
    origins: tuple[str, ...] = ()
    like: MicroBatch | None = None

    def __str__(self) -> str:
        found = ", ".join(self.origins[:NAMED]) + (" and more" if len(self.origins) > NAMED else "")
        return f"its {self.name} rows" + (f" ({found})" if found else "")

    @property
    def growth(self) -> float:
        """How many times as large as `like` it is: in pictures where these are what it has most of, else in tokens.

        One row alone has a like of as many pictures.
        """
        if self.like is None:
            return 1.0
        by = "pixel_values" if self.name == "most pictures" and len(self.batch["input_ids"]) > 1 else "input_ids"
        return self.batch[by].numel() / self.like[by].numel()


@dataclass(frozen=True)
class Plan:
    """What is rehearsed, the odd rows first; and in words what was read to choose it."""

    odd: list[Rehearsal]
    full: list[Rehearsal]
    rows: str


def plan_of(
    data: StageBatches | RegionBatches, position_limit: int | None, on_row: Callable[[int], None] | None = None
) -> Plan:
    """What to rehearse of a stage's data.

    Args:
        position_limit: the model's `max_position_embeddings`, if it has one.
        on_row: as `measure_groups` tells it.

    Raises:
        ValueError: a row cannot be learned from.
    """
    if isinstance(data, RegionBatches):
        return _of_regions(data)
    sizes, large = measure_groups(data, position_limit, on_row), sampled_files(data)
    measured = len(sizes)
    if data.checks_rows:
        limit = limit_of(data.settings.max_length, position_limit)
        sizes += long_rows(data, check_rows(large, data.processor, limit, data.readers, on_row))
    size = data.settings.batch_size // data.settings.accumulate
    encode = _Encoder(data)
    full = [encode(name, groups, _like(groups, sizes)) for name, groups in largest_batches(sizes, size).items()]
    odd = [encode(name, groups) for name, groups in odd_groups(sizes, min(FEW, size)).items()]
    return Plan(odd, full, _in_words(sizes, measured, sum(map(len, large)), data.checks_rows))


def _of_regions(data: RegionBatches) -> Plan:
    drawn = [batch for step in range(REGION_BATCHES) for batch in data[step]]
    largest = Rehearsal("largest", max(drawn, key=lambda one: len(one["region_image"])))
    rows = f"{len(largest.batch['region_image'])} regions in the largest of the first {len(drawn)} batches"
    # Twice, so that the second time has the optimisers' state beside it.
    return Plan([largest], [largest], rows)


def _like(groups: Sequence[GroupSize], sizes: Sequence[GroupSize]) -> Sequence[GroupSize]:
    """Fewer groups than a full batch has; the shortest of as many pictures where that has one."""
    if len(groups) > 1:
        return groups[: min(FEW, len(groups) - 1)]
    return [min((one for one in sizes if one.images == groups[0].images), key=lambda one: one.tokens)]


class _Encoder:
    def __init__(self, data: StageBatches):
        self.data = data

    def __call__(self, name: str, groups: Sequence[GroupSize], like: Sequence[GroupSize] = ()) -> Rehearsal:
        origins = tuple(dict.fromkeys(one.origin for one in groups))
        return Rehearsal(name, self._batch(groups), origins, self._batch(like) if like else None)

    def _batch(self, groups: Sequence[GroupSize]) -> MicroBatch:
        return self.data.encode([conversations_of(self.data, one) for one in groups])


def _in_words(sizes: Sequence[GroupSize], measured: int, large: int, are_checked: bool) -> str:
    """`measured` is how many groups were, `large` how many rows the files have of which that was only a part."""
    rest = "all of them can teach" if are_checked else "the others are looked at when a batch meets them"
    by_length = sorted(sizes, key=lambda one: one.tokens)
    return (
        f"{measured} read, {by_length[0].tokens} to {by_length[-1].tokens} tokens (the longest: "
        f"{by_length[-1].origin}), {sum(one.images == 0 for one in sizes)} without a picture"
        + (f"; large files have {large:,} rows: {rest}" if large else "")
    )
