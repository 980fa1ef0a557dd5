"""The memory of the K/V cache as numbered blocks: who uses which, what the unused ones still hold, which goes first.

A block is free, cached (nobody uses it, its content may be asked for again) or in use by one sequence or many. Blocks
here are numbers: the pool holds no keys or values, and it copies nothing itself.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from sightline.engine.prefix_tree import Cells, Node, PrefixTree, content, digest, root
from sightline.engine.request import Prompt, Sequence

__all__ = ["BlockPool", "Match", "digest", "root"]


@dataclass(frozen=True)
class Match:
    """The beginning of a prompt that is cached: `tokens` in all, `missed` the rest.

    `blocks` are whole blocks, to be used as they are. `tail` is (block, n): the next n tokens are the first n rows of
    this block, to be copied into a fresh one, because what follows them is other text.
    """

    blocks: list[int]
    tokens: int
    missed: int = 0
    tail: tuple[int, int] | None = None


class BlockPool:
    """Reference counts and the prefix cache over `num_blocks` blocks of `block_size` tokens.

    Attributes:
        hit_tokens, missed_tokens: those that `match` found, and those it did not.
        evictions: cached blocks that were forgotten to make room.

    Raises:
        ValueError: no blocks, or none that hold a token.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"a pool needs a block of a token at least, not {num_blocks} blocks of {block_size}")
        self.num_blocks, self.block_size = num_blocks, block_size
        self.hit_tokens = self.missed_tokens = self.evictions = 0
        self._free = list(range(num_blocks))[::-1]
        self._uses = [0] * num_blocks
        # The cached blocks, longest unused first. A content of which someone uses any block is in a block in use, and
        # whoever uses it uses those before it and gives them back after it. So a child always stands before its
        # parent, no cached block has a child in use, and the first is a leaf.
        self._cached: OrderedDict[int, Node] = OrderedDict()
        self._tree = PrefixTree()
        self._nodes: list[Node | None] = [None] * num_blocks
        self._stale: set[int] = set()

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def cached(self) -> int:
        return len(self._cached)

    @property
    def available(self) -> int:
        """Blocks that `allocate` can give: those free and those cached."""
        return len(self._free) + len(self._cached)

    @property
    def in_use(self) -> int:
        return self.num_blocks - self.available

    def uses(self, block: int) -> int:
        """How many sequences (and matches whose tail is not yet copied) use `block`."""
        return self._uses[block]

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def match(self, prompt: Prompt, limit: int | None = None) -> Match:
        """The longest cached beginning of `prompt`, of `limit` tokens at most (None: all but the last one).

        Its blocks and the tail's are in use from now on, until they are released (`undo` releases them all).
        """
        limit, size = len(prompt.ids) - 1 if limit is None else limit, self.block_size
        blocks: list[int] = []
        parent = root(prompt.salt)
        for start in range(0, limit - size + 1, size):
            node = self._tree.find(*self._describe(parent, prompt, prompt.ids, start, start + size))
            if node is None:
                break
            blocks.append(node.block)
            parent = node.digest
        start = len(blocks) * size
        near, count = self._tree.closest(parent, content(prompt.ids, prompt.images, start, min(start + size, limit)))
        tail = None if near is None else (near.block, count)
        self._use([*blocks, tail[0]] if tail else blocks)
        match = Match(blocks, start + count, len(prompt.ids) - start - count, tail)
        self._count(match, 1)
        return match

    def without_tail(self, match: Match) -> Match:
        """`match` with its whole blocks alone: the tail's block is given back."""
        if match.tail is None:
            return match
        source, count = match.tail
        self.release([source])
        shorter = dataclasses.replace(match, tokens=match.tokens - count, missed=match.missed + count, tail=None)
        self._count(match, -1)
        self._count(shorter, 1)
        return shorter

    def undo(self, match: Match) -> None:
        """Give back all that `match` took, and count it as never asked for."""
        match = self.without_tail(match)
        self.release(match.blocks)
        self._count(match, -1)

    def allocate(self, count: int) -> list[int] | None:
        """`count` blocks of any content, for one user. None, and nothing is evicted, if there are not so many."""
        if count > self.available:
            return None
        blocks = [self._free.pop() if self._free else self._evict() for _ in range(count)]
        self._use(blocks)
        return blocks

    def release(self, blocks: list[int]) -> None:
        """Give back a sequence's blocks, or the last of them, in the sequence's order."""
        for block in reversed(blocks):
            assert self._uses[block] > 0, f"block {block} is not in use"
            self._uses[block] -= 1
            if not self._uses[block]:
                self._retire(block)

    def seal(self, seq: Sequence) -> None:
        """Make the blocks of `seq` findable whose tokens are all computed. No draft is: `computed` ends before it."""
        full = seq.computed // self.block_size
        if self._is_stale(seq):
            return
        first = full
        while first and self._nodes[seq.blocks[first - 1]] is None:
            first -= 1
        for at in range(first, full):
            if not self._register(seq, at, self.block_size):
                return

    def finish(self, seq: Sequence) -> None:
        """Make all that is computed of `seq` findable, its last, partial block too, and give its blocks back."""
        self.seal(seq)
        full, count = divmod(seq.computed, self.block_size)
        if count and not self._is_stale(seq):
            self._register(seq, full, count)
        self.release(seq.blocks)
        seq.blocks = []

    def clear(self) -> None:
        """Forget all contents. Blocks in use stay so, but what they and their sequences hold is never cached."""
        self._free += self._cached
        self._cached.clear()
        self._tree.clear()
        self._nodes = [None] * self.num_blocks
        self._stale = {block for block in range(self.num_blocks) if self._uses[block]}

    def _describe(
        self, parent: bytes, prompt: Prompt, ids: list[int] | tuple[int, ...], start: int, stop: int
    ) -> tuple[bytes, bytes, Cells]:
        """Digest, parent and content of a block of `ids`, whose images are those of `prompt`."""
        name = digest(parent, ids[start:stop], prompt.images, start)
        return name, parent, content(ids, prompt.images, start, stop)

    def _register(self, seq: Sequence, at: int, count: int) -> bool:
        """Enter the first `count` tokens of the sequence's block `at`. False if the block has no place in the tree."""
        before = self._nodes[seq.blocks[at - 1]] if at else None
        if at and before is None:
            return False
        parent = before.digest if before else root(seq.prompt.salt)
        start, block = at * self.block_size, seq.blocks[at]
        name, parent, cells = self._describe(parent, seq.prompt, seq.ids, start, start + count)
        if count < self.block_size and self._tree.closest(parent, cells)[1] == count:
            return False  # a tail that another block begins with adds nothing
        node = self._tree.find(name, parent, cells)
        if node is None and name in self._tree:
            return False  # another content of the same digest
        if node is None:
            node = Node(name, parent, cells, block)
            self._tree.insert(node)
        else:
            self._add_twin(node, block)
        self._nodes[block] = node
        return True

    def _add_twin(self, node: Node, block: int) -> None:
        """`block`, in use, holds what is cached already. One in use always goes before one that nobody uses."""
        if self._uses[node.block]:
            node.spares.append(block)
            return
        del self._cached[node.block]
        self._discard(node.block)
        node.block = block

    def _is_stale(self, seq: Sequence) -> bool:
        return bool(self._stale) and not self._stale.isdisjoint(seq.blocks)

    def _use(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            self._uses[block] += 1
            self._cached.pop(block, None)

    def _retire(self, block: int) -> None:
        """The last user of `block` has gone: it is cached if it alone holds its content, else free."""
        node = self._nodes[block]
        if node is not None and node.block == block:
            if not node.spares:
                self._cached[block] = node
                return
            node.block = node.spares.pop()
        elif node is not None:
            node.spares.remove(block)
        self._discard(block)

    def _discard(self, block: int) -> None:
        self._nodes[block] = None
        self._stale.discard(block)
        self._free.append(block)

    def _evict(self) -> int:
        block, node = self._cached.popitem(last=False)
        self._tree.remove(node)
        self._nodes[block] = None
        self.evictions += 1
        return block

    def _count(self, match: Match, sign: int) -> None:
        self.hit_tokens += sign * match.tokens
        self.missed_tokens += sign * match.missed
