"""A model's blocks through torch.compile while a step is computed: one compilation serves all blocks of a kind.

A whole model of thirty blocks would be compiled thirty times over. Which steps are compiled is the stage's to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import torch
from torch import nn

__all__ = ["CompiledBlocks", "repeated_blocks"]


def repeated_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of each list of two modules or more that are all of one class."""
    for found in module.modules():
        if isinstance(found, nn.ModuleList) and len(found) > 1 and len({type(block) for block in found}) == 1:
            yield from found


class CompiledBlocks:
    """Within `with`, forward passes and their backward passes go through the compiler.

    Outside they are eager: evaluations have other shapes by the hundred, and a pass under a counter of operations
    would leave what it meets uncompiled for good.
    """

    def __init__(self, module: nn.Module):
        # Of lengths that change from step to step, so of dynamic shapes.
        self._forwards = [(block, torch.compile(block.forward, dynamic=True)) for block in repeated_blocks(module)]

    def __enter__(self) -> None:
        for block, forward in self._forwards:
            block.forward = forward

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for block, _ in self._forwards:
            del block.forward  # the class's own again
