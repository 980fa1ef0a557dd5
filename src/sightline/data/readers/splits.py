"""Rows divided so that no picture stands on both sides: `looked_at`, `row_keys` and `held_out_rows`.

What is held out depends on pictures alone, not on a seed, an order, or a file's name: it stays where rows are added,
and is the same in every file that shows a picture. Rows that share a picture, directly or through others, stay
together; rows without pictures go by what is asked in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from sightline.data.conversation import ChatRow
from sightline.data.pictures import Look, in_threads, look_at

__all__ = ["KEPT", "count_groups", "held_out_rows", "key_of_text", "keys_of", "looked_at", "row_keys"]

KEPT = 16  # bytes of a key, which tell pictures apart as well as all of them do


def looked_at(
    rows: Iterable[ChatRow], on_row: Callable[[], None] = lambda: None
) -> Iterator[tuple[list[bytes], list[Look]]]:
    """Of each row the keys of its pictures, or one of its text where it has none; and what its pictures look like.

    Raises:
        FileNotFoundError, ValueError: a picture cannot be opened; the message names the row.
    """
    for found in in_threads(_look_at, rows):
        on_row()
        yield found


def row_keys(rows: Iterable[ChatRow], on_row: Callable[[], None] = lambda: None) -> Iterator[list[bytes]]:
    """The keys of `looked_at` alone; raises as it does."""
    return (keys for keys, _ in looked_at(rows, on_row))


def keys_of(row: ChatRow, pictures: Sequence[bytes]) -> list[bytes]:
    """The keys of a row whose pictures have the keys `pictures`."""
    return list(pictures) or [key_of_text(row.messages)]


def _look_at(row: ChatRow) -> tuple[list[bytes], list[Look]]:
    try:
        looks = [look_at(source) for source in row.images]
        return keys_of(row, [look.key for look in looks]), looks
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{row.where}: {error}") from None


def key_of_text(messages: Sequence[dict[str, Any]]) -> bytes:
    """Of what user and system say: one question with two answers is on one side."""
    said = [part["text"] for message in messages if message["role"] != "assistant" for part in message["content"]]
    return hashlib.sha256(b"text\n" + "\0".join(said).encode()).digest()


def held_out_rows(keys: Iterable[Sequence[bytes]], share: float, least: int = 0) -> np.ndarray:
    """Which rows are held out, bool [rows], given each row's keys and the share of pictures to hold out.

    With `least`, at least that many groups of rows that share pictures are held out, but no more than a third of all.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share that is held out is between 0 and 1, but is {share:g}")
    places = _places(keys)
    held = places < share
    groups = np.unique(places)
    count = min(least, len(groups) // 3)
    return held | (places <= groups[count - 1]) if count else held


def count_groups(keys: Iterable[Sequence[bytes]]) -> int:
    """How many groups of rows that share pictures there are, given each row's keys."""
    return len(np.unique(_places(keys)))


def _places(keys: Iterable[Sequence[bytes]]) -> np.ndarray:
    """Of each row a number from 0 to 1 that it has in common with its group, float64 [rows]."""
    parents: dict[bytes, bytes] = {}
    firsts = [_join(parents, [key[:KEPT] for key in row]) for row in keys]
    return np.array([_position(_root(parents, first)) for first in firsts], dtype=np.float64)


def _join(parents: dict[bytes, bytes], keys: Sequence[bytes]) -> bytes:
    """Put keys into one group, whose root is the least of them; the first key."""
    roots = {_root(parents, key) for key in keys}
    least = min(roots)
    parents.update(dict.fromkeys(roots, least))
    return keys[0]


def _root(parents: dict[bytes, bytes], key: bytes) -> bytes:
    while (parent := parents.setdefault(key, key)) != key:
        # Each time it is gone, the way becomes half as long (Tarjan and van Leeuwen, 1984).
        parents[key] = grandparent = parents[parent]
        key = grandparent
    return key


def _position(root: bytes) -> float:
    """A number from 0 to 1. Hashed once more: the least key of many pictures is small, which would favour one side."""
    return int.from_bytes(hashlib.sha256(root).digest()[:8], "big") / 2**64
