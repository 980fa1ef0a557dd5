"""The paged KV cache: keys and values of every layer in blocks of equal size, allocated once.

It moves rows by number; which sequence owns a block, and what is worth keeping, others know (`blocks.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.config import LLMConfig
from sightline.engine.step import Copy

__all__ = ["PagedKVCache", "bytes_per_block", "default_budget"]


# The compiler's own code for a gather copies number by number on a CPU; in an operation of its own it stays a memcpy.
_library = torch.library.Library("sightline", "DEF")
_library.define("gather_rows(Tensor rows, Tensor index) -> Tensor")
_library.impl("gather_rows", lambda rows, index: rows.index_select(0, index), "CompositeExplicitAutograd")
_library.impl("gather_rows", lambda rows, index: rows.new_empty(index.shape[0], rows.shape[1]), "Meta")


def bytes_per_block(config: LLMConfig, block_size: int, dtype: torch.dtype) -> int:
    """What one block takes: keys and values of `block_size` tokens in all layers."""
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return per_token * block_size * dtype.itemsize


def default_budget(config: LLMConfig, block_size: int, dtype: torch.dtype) -> int:
    """Bytes of a cache where none are given: what the model's longest text takes, between 512 MiB and 2 GiB."""
    per_block = bytes_per_block(config, block_size, dtype)
    longest = -(-config.max_position_embeddings // block_size) + 1  # and one for padding
    return min(max(longest * per_block, 2**29), 2**31)


class PagedKVCache:
    """`num_blocks` blocks of `block_size` tokens, and one more that belongs to nobody: `scratch`, for padding.

    `layers[i]` is `[2 kv_heads, slots, head_dim]`, the key heads first. Heads are outermost so that one head's rows
    lie side by side, as attention reads them. Token `p` of a sequence stands in slot
    `blocks[p // block_size] * block_size + p % block_size`.

    Raises:
        ValueError: fewer than one block, or blocks of less than one token.
    """

    def __init__(
        self,
        config: LLMConfig,
        num_blocks: int,
        block_size: int = 16,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"a KV cache needs blocks: num_blocks={num_blocks}, block_size={block_size}")
        self.num_blocks, self.block_size, self.scratch = num_blocks, block_size, num_blocks
        self.kv_heads, self.head_dim = config.num_key_value_heads, config.head_dim
        self.device, self.dtype = torch.device(device), dtype
        self._total = num_blocks + 1
        shape = (2 * self.kv_heads, self._total * block_size, self.head_dim)
        # Zeros, not whatever memory holds: rows that a mask hides are still multiplied, and NaN times 0 is NaN.
        self.layers = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.num_hidden_layers)]
        heads = torch.arange(2 * self.kv_heads, device=device) * self._total
        self._first_rows = heads.view(2, 1, self.kv_heads, 1)
        self._workspace = torch.empty(0, device=device, dtype=dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values, the scratch block included."""
        return sum(layer.nbytes for layer in self.layers)

    def slots_of(self, blocks: Sequence[int], start: int, end: int) -> list[int]:
        """The slots of tokens `start` .. `end` of the sequence that owns `blocks`."""
        size = self.block_size
        return [blocks[place // size] * size + place % size for place in range(start, end)]

    def write(
        self, layer: int, slots: Int[Tensor, " tokens"], rows: Float[Tensor, "tokens twice_kv_heads head_dim"]
    ) -> None:
        """Put each token's keys and values (one after the other along the heads) into its slot."""
        self.layers[layer].index_copy_(1, slots, rows.transpose(0, 1))

    def index(self, tables: Int[Tensor, "batch blocks"]) -> Int[Tensor, " rows"]:
        """What `gather` takes: where in a layer the blocks named in `tables` lie, head by head."""
        return (self._first_rows + tables[:, None]).flatten()

    def gather(self, layer: int, index: Int[Tensor, " rows"], out: Tensor | None = None) -> Tensor:
        """The blocks of `index` one after the other: `[rows, block_size * head_dim]`; see `split`."""
        rows = self.layers[layer].view(2 * self.kv_heads * self._total, self.block_size * self.head_dim)
        if out is not None:
            return torch.index_select(rows, 0, index, out=out)
        return rows.index_select(0, index) if rows.is_cuda else torch.ops.sightline.gather_rows(rows, index)

    def split(self, gathered: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """Keys and values of what `gather` gave, each `[batch * kv_heads, 1, blocks * block_size, head_dim]`."""
        keys, values = gathered.view(2, batch * self.kv_heads, 1, -1, self.head_dim).unbind(0)
        return keys, values

    def span(self, layer: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the slots `start` .. `end` where they lie, as `split` has them, nothing copied."""
        both = self.layers[layer].view(2, self.kv_heads, 1, -1, self.head_dim).narrow(3, start, end - start)
        keys, values = both.unbind(0)
        return keys, values

    def workspace(self, rows: int) -> Tensor:
        """Room for `gather` to put `rows` rows: the same memory each time, grown to a power of two when too small."""
        width = self.block_size * self.head_dim
        if self._workspace.numel() < rows * width:
            size = 1 << (rows * width - 1).bit_length()
            self._workspace = torch.empty(size, device=self.device, dtype=self.dtype)
        return self._workspace[: rows * width].view(rows, width)

    def copy(self, copies: Iterable[Copy]) -> None:
        """The first `count` rows of each block `source` also stand in block `target` afterwards, in every layer."""
        size = self.block_size
        for copy in copies:
            source, target = copy.source * size, copy.target * size
            for layer in self.layers:
                layer[:, target : target + copy.count] = layer[:, source : source + copy.count]

    def zero(self, blocks: Sequence[int]) -> None:
        """Make all rows of the blocks zero, in every layer."""
        where = torch.tensor(blocks, device=self.device, dtype=torch.long)
        for layer in self._by_block():
            layer[:, where] = 0

    def is_finite(self, blocks: Sequence[int]) -> bool:
        """Whether all rows of the blocks are numbers, in every layer."""
        where = torch.tensor(blocks, device=self.device, dtype=torch.long)
        return all(bool(layer[:, where].isfinite().all()) for layer in self._by_block())

    def _by_block(self) -> Iterator[Tensor]:
        """Each layer as `[2 * kv_heads, blocks, block_size, head_dim]`."""
        return (layer.view(2 * self.kv_heads, self._total, self.block_size, self.head_dim) for layer in self.layers)

    def matches(self, weight: Tensor) -> bool:
        """Whether a model with such weights can use this cache: device and dtype are one."""
        return weight.device.type == self.device.type and weight.dtype == self.dtype
