"""Where a stage's samples come from: the built-in world and files, dealt out in the recipe's proportions.

A group is one picture (or several) with all that is asked about it. Which group stands at which place is a pure
function of the recipe, the stage and the place, so that a resumed run sees what it would have seen.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from sightline.data.chat_file import ChatFile, read_chat_file
from sightline.data.sample import Sample
from sightline.data.scenes.world import World
from sightline.training.recipe import DataSection, WorldSource

__all__ = ["Deal", "FileGroups", "Source", "WorldGroups", "open_sources", "world_of"]

BLOCK = 1000  # places within which the proportions are exact


class Source(Protocol):
    """Groups by number, without end."""

    def group(self, number: int) -> list[Sample]: ...

    def origin(self, number: int) -> str:
        """Where the group comes from, for people."""
        ...


def world_of(source: WorldSource, seed: int, image_size: int, languages: Sequence[str] | None = None) -> World:
    """The training side of the built-in world, as a recipe asks for it."""
    return World(
        seed=seed,
        split="train",
        things=source.things,
        languages=languages or source.languages,
        image_size=image_size,
        mix=source.mix,
        layouts=source.layouts,
        grid_share=source.grid_share,
    )


class WorldGroups:
    """Pictures of the built-in world, or their descriptions in words alone, with several questions each."""

    def __init__(self, source: WorldSource, seed: int, image_size: int, words_only: bool):
        self.world = world_of(source, seed, image_size)
        self.questions, self.words_only = source.questions, words_only

    def group(self, number: int) -> list[Sample]:
        ask = self.world.text_questions if self.words_only else self.world.questions
        return ask(number, self.questions)

    def origin(self, number: int) -> str:
        return f"the built-in world's picture {number}"


class FileGroups:
    """The rows of a file, shuffled anew in each epoch."""

    def __init__(self, rows: ChatFile, seed: int):
        self.rows, self.seed = rows, seed
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def group(self, number: int) -> list[Sample]:
        row = self.rows[self.row(number)]
        return [{"messages": row.messages, "images": row.images}]

    def origin(self, number: int) -> str:
        return self.rows.where(self.row(number))

    def row(self, number: int) -> int:
        """Which row of the file stands at a place."""
        epoch, place = divmod(number, len(self.rows))
        return int(self._order(epoch)[place])

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.rows))


def open_sources(data: DataSection, seed: int, image_size: int, words_only: bool) -> tuple[list[Source], list[float]]:
    """The sources of a stage and their weights.

    Raises:
        FileNotFoundError, ValueError: as `read_chat_file`.
    """
    sources: list[Source] = []
    weights: list[float] = []
    if data.world is not None and data.world.weight > 0:
        sources.append(WorldGroups(data.world, seed, image_size, words_only))
        weights.append(data.world.weight)
    for file in data.files:
        sources.append(FileGroups(read_chat_file(file.path, image_folder=file.image_folder), seed))
        weights.append(file.weight)
    return sources, weights


class Deal:
    """Deals places out to sources: every `BLOCK` places hold exact proportions, in a shuffled order."""

    def __init__(self, weights: Sequence[float], seed: int):
        shares = np.array(weights) / sum(weights) * BLOCK
        counts = np.floor(shares).astype(int)
        # The largest remainders get what rounding down has left over (Hamilton's method).
        counts[np.argsort(counts - shares, kind="stable")[: BLOCK - counts.sum()]] += 1
        self.counts, self.seed = counts, seed
        self._block = lru_cache(maxsize=4)(self._dealt)

    def __call__(self, place: int) -> tuple[int, int]:
        """The source at `place`, and how many places before it were the same source's."""
        block, within = divmod(place, BLOCK)
        sources, seen = self._block(block)
        source = sources[within]
        return source, block * int(self.counts[source]) + bisect.bisect_left(seen[source], within)

    def _dealt(self, block: int) -> tuple[list[int], list[list[int]]]:
        sources = [source for source, count in enumerate(self.counts) for _ in range(count)]
        random.Random(f"{self.seed}:{block}").shuffle(sources)
        seen: list[list[int]] = [[] for _ in self.counts]
        for place, source in enumerate(sources):
            seen[source].append(place)
        return sources, seen
