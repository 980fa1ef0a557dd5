"""Groups passed over because they show what is held out: `fresh`, for files too large to be searched beforehand.

Which group stands in for one is a function of its place, as everything in a batch is.
"""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache

from sightline.data.pictures import pixels_key
from sightline.data.readers.splits import KEPT, key_of_text
from sightline.data.sample import Sample
from sightline.images import load_rgb
from sightline.training.sources import Source
from sightline.training.streams import BLOCK_ROWS

__all__ = ["fresh"]

STRETCHES = 64


def fresh(source: Source, number: int) -> int:
    """The place `number` of a source, or the next whose group shows no picture, and asks no text, that is barred.

    Places are taken by turns within one stretch, which of a stream is a block: it need not be read again. Where all of
    it is barred, those of the next ones are.

    Raises:
        ValueError: all groups of `STRETCHES` stretches are barred.
    """
    if not source.barred:
        return number
    first, within = number // BLOCK_ROWS * BLOCK_ROWS, number % BLOCK_ROWS
    for step in range(STRETCHES * BLOCK_ROWS):
        stretch, turn = divmod(step, BLOCK_ROWS)
        place = first + stretch * BLOCK_ROWS + (within + turn) % BLOCK_ROWS
        if not _is_barred(source, place):
            return place
    raise ValueError(
        f"{source.origin(number)}, and all of {STRETCHES * BLOCK_ROWS:,} groups of rows behind it, show (or ask) what "
        "is held out: hold out less, or other rows"
    )


def _is_barred(source: Source, place: int) -> bool:
    try:
        return any(not source.barred.isdisjoint(_keys(sample)) for sample in source.group(place))
    except (ValueError, OSError):
        return False  # a row or picture that cannot be read is named by who makes the batch


def _keys(sample: Sample) -> Set[bytes]:
    shown = {_key(picture) for picture in sample["images"] if isinstance(picture, (str, bytes))}
    return shown or {key_of_text(sample["messages"])[:KEPT]}


def _key(picture: str | bytes) -> bytes:
    return _key_of_file(picture) if isinstance(picture, str) else pixels_key(load_rgb(picture, "picture"))[:KEPT]


@lru_cache(maxsize=256)  # pictures of files are shown by several rows
def _key_of_file(picture: str) -> bytes:
    return pixels_key(load_rgb(picture, "picture"))[:KEPT]
