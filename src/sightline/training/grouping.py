"""Which rows of a file are about the same pictures, so that they can be learned in one go.

Of a file of up to `WHOLE` rows all are read for that. A larger one is cut into blocks of rows that follow each other,
and blocks from all over it make up a window, which is read when its turn comes: memory does not grow with the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from sightline.data.conversation import ChatRow
from sightline.data.readers import Data

__all__ = ["MOST", "WHOLE", "Groups", "Windows", "groups_of"]

MOST = 8  # conversations a group of a file's rows; more would make its row much longer than the others
WHOLE = 20_000  # rows, which take about a second to read
BLOCK_ROWS = 64  # rows about one picture mostly follow each other
WINDOW_ROWS = 8192

# Row numbers, group by group in the order of each one's first row; and where the groups begin and end.
Groups: TypeAlias = tuple[np.ndarray, np.ndarray]


# Kept for the process, not in an object that is sent to workers.
@lru_cache(maxsize=256)
def groups_of(rows: Data) -> Groups:
    """The groups of all rows. Where no rows can share a picture file, each is a group, and none is read.

    Raises:
        FileNotFoundError, ValueError: as a row of `Data`.
    """
    if not rows.may_share_pictures:
        return np.arange(len(rows)), np.arange(len(rows) + 1)
    return _grouped(rows, np.arange(len(rows)))


def _grouped(rows: Iterable[ChatRow], numbers: np.ndarray) -> Groups:
    """The groups of `rows`, whose numbers in their file are `numbers`."""
    known: dict[bytes, int] = {}
    # A row that stands alone has its number for a key, which is shorter than any digest and so like none.
    keys = (_beginning(row) or str(number).encode() for number, row in enumerate(rows))
    alike = np.fromiter((known.setdefault(key, len(known)) for key in keys), dtype=np.int64, count=len(numbers))
    order = np.argsort(alike, kind="stable")
    begins = np.flatnonzero(np.diff(alike[order], prepend=-1))
    within = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    starts = np.flatnonzero(within % MOST == 0)
    rank = np.argsort(order[starts])
    sizes = np.diff(starts, append=len(order))[rank]
    ends = np.cumsum([0, *sizes])
    return numbers[order[np.repeat(starts[rank] - ends[:-1], sizes) + np.arange(len(order))]], ends


def _beginning(row: ChatRow) -> bytes | None:
    """A digest of a row's pictures and of what stands before them; None where they do not open the user's turn."""
    first = next((n for n, message in enumerate(row.messages) if message["role"] == "user"), None)
    if first is None or not row.images or any(isinstance(picture, bytes) for picture in row.images):
        return None
    before, opening = row.messages[:first], row.messages[first]["content"][: len(row.images)]
    opens = len(opening) == len(row.images) and all(part["type"] == "image" for part in opening)
    if not opens or any(message["role"] != "system" for message in before):
        return None
    return hashlib.blake2b(json.dumps([row.images, before]).encode(), digest_size=16).digest()


class Windows:
    """The windows of a large file's rows, by number; which block is in which is the seed's to say.

    Raises:
        FileNotFoundError, ValueError: as a row of `Data`.
    """

    def __init__(self, rows: Data, seed: int):
        self.rows, self.seed = rows, seed
        self.blocks = -(-len(rows) // BLOCK_ROWS)
        self.per_window = max(1, WINDOW_ROWS // BLOCK_ROWS)

    def __len__(self) -> int:
        return -(-self.blocks // self.per_window)

    def __getitem__(self, window: int) -> Groups:
        groups = _window(self.rows, self.seed, window, self.blocks, self.per_window)
        self._known()[window] = len(groups[1]) - 1
        return groups

    def count(self, window: int) -> int:
        """How many groups a window has."""
        known = self._known()
        return known[window] if window in known else len(self[window][1]) - 1

    def _known(self) -> dict[int, int]:
        return _counts.setdefault(self.rows, {}).setdefault(self.seed, {})


_counts: WeakKeyDictionary[Data, dict[int, dict[int, int]]] = WeakKeyDictionary()


@lru_cache(maxsize=256)  # of as many files, each in the middle of a window; some 100 kB each
def _window(rows: Data, seed: int, window: int, blocks: int, per_window: int) -> Groups:
    chosen = np.sort(_block_order(seed, blocks)[window * per_window : (window + 1) * per_window])
    numbers = (chosen[:, None] * BLOCK_ROWS + np.arange(BLOCK_ROWS)).ravel()
    numbers = numbers[numbers < len(rows)]
    return _grouped((rows[number] for number in numbers.tolist()), numbers)


@lru_cache(maxsize=256)
def _block_order(seed: int, blocks: int) -> np.ndarray:
    return np.random.default_rng((seed, blocks)).permutation(blocks)
