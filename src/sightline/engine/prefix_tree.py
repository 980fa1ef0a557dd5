"""What is cached, found by what it says: a tree of blocks over chained SHA-256 digests.

A node is the content of one block: its tokens and, where images stand, which image and which of its rows. Its digest
takes in the digest of the block before, so equal digests mean equal prompts from the first token on, under equal salts.
The tree knows which block holds a content; it does not know who uses the block, nor when it may be forgotten.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from sightline.engine.request import ImageRun, Sequence

__all__ = ["Cells", "Ids", "Node", "PrefixTree", "begin_alike", "content", "digest", "root"]

Ids: TypeAlias = list[int] | tuple[int, ...]
# One position: its token, and the key and row of the image that stands there (no key and -1 for text).
Cells: TypeAlias = tuple[tuple[int, bytes, int], ...]


def root(salt: bytes) -> bytes:
    """The parent digest of a first block. Another salt is another tree."""
    return hashlib.sha256(b"salt" + salt).digest()


def digest(parent: bytes, tokens: Ids, images: tuple[ImageRun, ...], start: int) -> bytes:
    """SHA-256 of a block and all before it, never cut.

    Args:
        parent: the digest of the block before, or `root`.
        tokens: the block's own token ids, the first of which stands at position `start` of the prompt.
        images: the prompt's runs, in order. Of those in the block go in: the key, the offset of the run's start from
            the block's (negative if the run began in an earlier block), and where in the block it ends.
    """
    stop = start + len(tokens)
    hasher = hashlib.sha256(b"block" + parent + struct.pack(f"<{len(tokens) + 1}q", len(tokens), *tokens))
    for run in _overlapping(images, start, stop):
        place = struct.pack("<3q", run.start - start, min(run.end, stop) - start, len(run.key))
        hasher.update(place + run.key)
    return hasher.digest()


def content(ids: Ids, images: tuple[ImageRun, ...], start: int, stop: int) -> Cells:
    """What positions `start` to `stop` hold, one by one: the same facts as in `digest`, to be compared."""
    cells = [(token, b"", -1) for token in ids[start:stop]]
    for run in _overlapping(images, start, stop):
        for at in range(max(run.start, start), min(run.end, stop)):
            cells[at - start] = (ids[at], run.key, at - run.start)
    return tuple(cells)


def begin_alike(left: Sequence, right: Sequence, end: int) -> bool:
    """Whether the first `end` tokens of two sequences, and the images among them, are the same under the same salt."""
    return (
        left.prompt.salt == right.prompt.salt
        and left.ids[:end] == right.ids[:end]
        and _runs(left, end) == _runs(right, end)
    )


def _runs(seq: Sequence, end: int) -> list[ImageRun]:
    """The images that begin before `end`, cut there."""
    runs = [run for run in seq.prompt.images if run.start < end]
    return [dataclasses.replace(run, length=min(run.end, end) - run.start) for run in runs]


def _overlapping(images: tuple[ImageRun, ...], start: int, stop: int) -> Iterator[ImageRun]:
    for at in range(bisect_right(images, start, key=lambda run: run.end), len(images)):
        if images[at].start >= stop:
            return
        yield images[at]


@dataclass(eq=False, slots=True)
class Node:
    """A cached content and the block that holds it; `spares` are used blocks that were computed to the same content."""

    digest: bytes
    parent: bytes
    cells: Cells
    block: int
    spares: list[int] = field(default_factory=list)


class PrefixTree:
    """Nodes by digest, and each digest's children in the order of what they say."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node] = {}
        self._children: dict[bytes, list[Node]] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._nodes

    def find(self, digest: bytes, parent: bytes, cells: Cells) -> Node | None:
        """The node of this digest, if what it says is the same as well."""
        node = self._nodes.get(digest)
        return node if node is not None and node.parent == parent and node.cells == cells else None

    def closest(self, parent: bytes, cells: Cells) -> tuple[Node | None, int]:
        """The child of `parent` that begins like `cells` for longest, and how many cells that are (None and 0)."""
        siblings = self._children.get(parent, [])
        at = bisect_left(siblings, cells, key=_cells)
        # In sorted order the longest common beginning is with a neighbour.
        near = [(_common(node.cells, cells), node) for node in siblings[max(at - 1, 0) : at + 1]]
        count, best = max(near, key=lambda pair: pair[0], default=(0, None))
        return (best, count) if count else (None, 0)

    def insert(self, node: Node) -> None:
        assert node.digest not in self._nodes, "a digest stands for one content"
        self._nodes[node.digest] = node
        insort(self._children.setdefault(node.parent, []), node, key=_cells)

    def remove(self, node: Node) -> None:
        assert node.digest not in self._children, "a block that others continue is not forgotten before them"
        del self._nodes[node.digest]
        siblings = self._children[node.parent]
        del siblings[bisect_left(siblings, node.cells, key=_cells)]
        if not siblings:
            del self._children[node.parent]

    def clear(self) -> None:
        self._nodes.clear()
        self._children.clear()


def _cells(node: Node) -> Cells:
    return node.cells


def _common(left: Cells, right: Cells) -> int:
    """How many cells two contents have in common at their beginning."""
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
