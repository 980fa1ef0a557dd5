"""What is computed next: the plain data that the scheduler hands to the runner.

It names tokens and blocks by number; it knows neither tensors nor the reasons for the choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from sightline.engine.request import Sequence

__all__ = ["Copy", "Step", "Work"]


@dataclass(frozen=True)
class Work:
    """The tokens `start` .. `start + count` of `seq.ids + seq.draft`, to be computed in one step.

    `seq.blocks` has room for all of them, and K/V of everything before `start` stand in it.
    """

    seq: Sequence
    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True)
class Copy:
    """The first `count` rows of block `source` are copied into block `target`, before anything is computed."""

    source: int
    target: int
    count: int


@dataclass(frozen=True)
class Step:
    """One pass: copies first, then all works together. `preempted` sequences gave up their blocks for it."""

    works: list[Work]
    copies: list[Copy]
    preempted: list[Sequence]
