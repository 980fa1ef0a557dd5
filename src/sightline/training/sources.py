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

from sightline.data.readers import Data
from sightline.data.sample import Sample, sample_of
from sightline.data.scenes.world import World
from sightline.training.grouping import WHOLE, Windows, groups_of
from sightline.training.holdout import sides_of_files, sides_of_run
from sightline.training.recipe import Recipe, Stage, WorldSource
from sightline.training.streams import StreamGroups

__all__ = ["Deal", "FileGroups", "Source", "WindowedGroups", "WorldGroups", "open_rows", "open_sources", "world_of"]

BLOCK = 1000  # places within which the proportions are exact


class Source(Protocol):
    """Groups by number, without end. Those that show what has a key that is `barred` must not be learned from."""

    barred: frozenset[bytes]

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
    """Pictures of the built-in world, or their descriptions in words alone, with several questions each.

    A share of them are exercises on lists instead.
    """

    barred: frozenset[bytes] = frozenset()

    def __init__(self, source: WorldSource, seed: int, image_size: int, words_only: bool):
        self.world = world_of(source, seed, image_size)
        self.questions, self.words_only, self.exercises = source.questions, words_only, source.exercises

    def group(self, number: int) -> list[Sample]:
        if self.is_exercise(number):
            return self.world.exercises(number, self.questions)
        ask = self.world.text_questions if self.words_only else self.world.questions
        return ask(number, self.questions)

    def origin(self, number: int) -> str:
        return f"the built-in world's {'exercise' if self.is_exercise(number) else 'picture'} {number}"

    def is_exercise(self, number: int) -> bool:
        """Whether what stands at the place is in text alone."""
        return random.Random(f"exercise:{self.world.seed}:{number}").random() < self.exercises


class FileGroups:
    """The rows of a file, shuffled anew in each epoch; rows about the same pictures are one group.

    A group counts as one of a stage's `samples`. It has up to `MOST` rows that begin alike, with their pictures; a row
    without pictures, whose pictures stand elsewhere, or come as bytes, is a group of its own. A row that ends with the
    user's turn takes the first of its `answers` as the assistant's.

    Raises:
        FileNotFoundError, ValueError: as a row of `Data`. Where pictures are files, all rows are read to see which are
            about the same ones; none is opened.
    """

    barred: frozenset[bytes] = frozenset()

    def __init__(self, rows: Data, seed: int):
        self.rows, self.seed = rows, seed
        self._members, self._starts = groups_of(rows)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def group(self, number: int) -> list[Sample]:
        return self.samples(self.which(number))

    def origin(self, number: int) -> str:
        return self.rows.where(*self.members(self.which(number)))

    def which(self, number: int) -> int:
        """Which of the file's groups stands at a place."""
        epoch, place = divmod(number, len(self))
        return int(_permutation((self.seed, epoch), len(self))[place])

    def place_of(self, index: int) -> int:
        """The place in the first epoch at which the file's group `index` stands."""
        return int(np.flatnonzero(_permutation((self.seed, 0), len(self)) == index)[0])

    def members(self, index: int) -> list[int]:
        """The rows of the file's group `index`, in the file's order."""
        return self._members[self._starts[index] : self._starts[index + 1]].tolist()

    def samples(self, index: int) -> list[Sample]:
        """The conversations of the file's group `index`."""
        return [sample_of(self.rows[row]) for row in self.members(index)]


class WindowedGroups:
    """As `FileGroups`, of a file that is too large to be kept in mind: window by window.

    In an epoch each row is seen once, as there; but only rows of one window are put together, and only their groups are
    shuffled among each other. Windows come in another order in each epoch.
    """

    barred: frozenset[bytes] = frozenset()

    def __init__(self, rows: Data, seed: int):
        self.rows, self.seed = rows, seed
        self._windows = Windows(rows, seed)

    def group(self, number: int) -> list[Sample]:
        return [sample_of(self.rows[row]) for row in self.members(number)]

    def origin(self, number: int) -> str:
        return self.rows.where(*self.members(number))

    def members(self, number: int) -> list[int]:
        """The rows of the group at a place, in the file's order."""
        epoch, window, place = self._find(number)
        members, starts = self._windows[window]
        index = int(_permutation((self.seed, epoch, window), len(starts) - 1)[place])
        return members[starts[index] : starts[index + 1]].tolist()

    def _find(self, number: int) -> tuple[int, int, int]:
        """Epoch, window, and place in the window. Of the first epoch, no window is read before its turn."""
        for window in range(len(self._windows)):
            if number < (count := self._windows.count(window)):
                return 0, window, number
            number -= count
        counts = np.array([self._windows.count(window) for window in range(len(self._windows))])
        epoch, number = divmod(number, int(counts.sum()))
        order = _permutation((self.seed, epoch + 1), len(counts))
        ends = np.cumsum(counts[order])
        turn = int(np.searchsorted(ends, number, side="right"))
        return epoch + 1, int(order[turn]), number - int(ends[turn - 1] if turn else 0)


# Kept for the process, not in the object, which is sent to the workers.
@lru_cache(maxsize=256)
def _permutation(seed: tuple[int, ...], length: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(length)


def open_rows(recipe: Recipe) -> list[Data]:
    """The rows of all files of a recipe that are learned from, each once. Unchanged files give the same objects.

    Raises:
        FileNotFoundError, ValueError: as `sides_of_files`.
    """
    return [sides.train for sides in sides_of_run(recipe)]


def open_sources(recipe: Recipe, stage: Stage, image_size: int) -> tuple[list[Source], list[float]]:
    """The sources of a stage and their weights.

    Raises:
        FileNotFoundError, ValueError: as `sides_of_files` and `FileGroups`.
    """
    data, seed = recipe.data_of(stage), recipe.seed_of(stage)
    sources: list[Source] = []
    weights: list[float] = []
    if data.world is not None and data.world.weight > 0:
        sources.append(WorldGroups(data.world, seed, image_size, words_only=stage.kind == "language"))
        weights.append(data.world.weight)
    sides = sides_of_files(recipe)
    for file in data.files:
        source = _of_file(sides[file].train, seed)
        source.barred = sides[file].barred
        sources.append(source)
        weights.append(file.weight)
    return sources, weights


def _of_file(rows: Data, seed: int) -> FileGroups | WindowedGroups | StreamGroups:
    if rows.is_in_order_only:
        return StreamGroups(rows, seed)
    if rows.may_share_pictures and len(rows) > WHOLE:
        return WindowedGroups(rows, seed)
    return FileGroups(rows, seed)


class Deal:
    """Deals places out to sources: every `BLOCK` places hold exact proportions, in a shuffled order.

    Raises:
        ValueError: a weight is so small beside the others that its source would never be read.
    """

    def __init__(self, weights: Sequence[float], seed: int):
        shares = np.array(weights) / sum(weights) * BLOCK
        counts = np.floor(shares).astype(int)
        # The largest remainders get what rounding down has left over (Hamilton's method).
        counts[np.argsort(counts - shares, kind="stable")[: BLOCK - counts.sum()]] += 1
        for weight, count in zip(weights, counts, strict=True):
            if count == 0:
                # A little more than one place in a block, so that the figure may be rounded.
                least = 1.01 * (sum(weights) - weight) / (BLOCK - 1)
                raise ValueError(
                    f"data: a source of weight {weight:g} would never be read, as the others weigh "
                    f"{sum(weights) - weight:g}: give it a weight of at least {least:.3g}, or leave it out"
                )
        self.counts, self.seed = tuple(counts.tolist()), seed

    def __call__(self, place: int) -> tuple[int, int]:
        """The source at `place`, and how many places before it were the same source's."""
        block, within = divmod(place, BLOCK)
        sources, seen = _dealt(self.counts, self.seed, block)
        source = sources[within]
        return source, block * self.counts[source] + bisect.bisect_left(seen[source], within)


@lru_cache(maxsize=8)
def _dealt(counts: tuple[int, ...], seed: int, block: int) -> tuple[list[int], list[list[int]]]:
    """The source at each place of a block, and by source its places."""
    sources = [source for source, count in enumerate(counts) for _ in range(count)]
    random.Random(f"{seed}:{block}").shuffle(sources)
    seen: list[list[int]] = [[] for _ in counts]
    for place, source in enumerate(sources):
        seen[source].append(place)
    return sources, seen
