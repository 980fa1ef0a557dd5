"""Batches for training, as tensors: what one optimiser step reads, split into its micro-batches.

Item `step` is a pure function of the recipe, the stage and the step. This file knows sources and the processor;
it does not know the model.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sightline.data.pictures import pixels_key
from sightline.data.sample import Sample
from sightline.data.scenes.regions import Regions
from sightline.images import load_rgb
from sightline.processor import VLMProcessor
from sightline.training.barring import fresh
from sightline.training.contrast import TEXT_LENGTH, patch_weights
from sightline.training.frozen_features import KEY_BYTES
from sightline.training.holdout import sides_of_files
from sightline.training.large_files import begin_worker, readers_for
from sightline.training.recipe import Recipe, Stage
from sightline.training.row_checks import BEGIN_ANEW, CannotTeach, can_teach, check_length, checked_row, limit_of
from sightline.training.rows import where_at
from sightline.training.sources import Deal, WorldGroups, open_sources, world_of

__all__ = ["MicroBatch", "RegionBatches", "StageBatches", "WordBatches", "batches_from", "open_batches"]

MicroBatch = dict[str, Tensor]

REMEDY = "mend it and go on with --resume, or take the row out and begin anew"
# Rows and what lies in them are known by their bytes, and a run goes on with no others.
REMEDY_IN_A_ROW = "mend it, or take the row out, and begin anew"
_PLACE = re.compile(r"^(sample|group) \d+(, image \d+)?:? ")  # which row of a batch it was says nothing to anyone


class StageBatches(Dataset[list[MicroBatch]]):
    """Conversations: input_ids, attention_mask, labels, and pixel_values and branch_ids where there are any.

    Where features of the frozen tower may be kept, `picture_keys`, uint8 [images, 32], tells pictures apart: SHA-256 of
    the decoded pixels with mode and size. It is zero for pictures that were drawn, not read, which none sees twice.
    """

    def __init__(self, recipe: Recipe, stage: Stage, processor: VLMProcessor, image_size: int):
        self.processor, self.settings = processor, recipe.optimisation_of(stage)
        seed = recipe.seed_of(stage)
        self.sources, weights = open_sources(recipe, stage, image_size)
        self.deal = Deal(weights, seed)
        sides = sides_of_files(recipe)
        self.files = [sides[file].train for file in recipe.data_of(stage).files]
        self.keyed = recipe.train.feature_cache_gib > 0 and "vision" not in stage.trains
        self.limit = limit_of(self.settings.max_length, None)
        self.checks_rows = recipe.train.check_rows
        self.readers = readers_for(recipe.train.workers)

    def __getitem__(self, step: int) -> list[MicroBatch]:
        """The micro-batches of `step`.

        Raises:
            FileNotFoundError, ValueError: a row or picture cannot be read, or a row cannot teach, as preflight says it;
                the message says where it comes from.
            OSError: the connection to a stream was lost.
        """
        try:
            return self._micro_batches(step)
        except (ConnectionError, TimeoutError) as error:  # of a stream: nothing is wrong with any row
            raise OSError(f"{error}; go on with --resume once there is a connection again") from None
        except (ValueError, OSError) as error:
            raise self._explained(step, error) from None

    def _micro_batches(self, step: int) -> list[MicroBatch]:
        size = self.settings.batch_size // self.settings.accumulate
        # Each is taken as soon as it is found: a stream that looks ahead for the next would have to begin anew.
        groups = [self.sources[source].group(number) for source, number in self._places(step)]
        # Micro-batches of like length hold less padding, and add up to the same step.
        groups.sort(key=_letters)
        return [self.encode(groups[start : start + size]) for start in range(0, len(groups), size)]

    def _explained(self, step: int, error: Exception) -> Exception:
        """The error with the origin of the group that gives it, found by taking the step's groups one by one."""
        for source, number in self._places(step):
            where = ""  # a row that cannot be read says itself which it is
            drawn = isinstance(self.sources[source], WorldGroups)
            try:
                group = self.sources[source].group(number)
                self._check(source, number, group, drawn)
                where = f"{self.sources[source].origin(number)}: "
                self.encode([group])
            except CannotTeach as found:
                return found if drawn else CannotTeach(f"{found}{BEGIN_ANEW}")
            except (ValueError, OSError) as found:
                kind = FileNotFoundError if isinstance(found, FileNotFoundError) else ValueError
                beside = kind is FileNotFoundError or (where and all(map(_lies_beside, group)))
                remedy = REMEDY if beside else REMEDY_IN_A_ROW
                return kind(f"{where}{_PLACE.sub('', str(found))}" + ("" if drawn else f"; {remedy}"))
        return error

    def _check(self, source: int, number: int, group: Sequence[Sample], drawn: bool) -> None:
        """Raise what preflight says of a conversation of the group that cannot teach."""
        for index, sample in enumerate(group):
            where = partial(where_at, self.sources[source], number, index)
            ids, _ = checked_row(sample, self.processor, where)
            check_length(len(ids), self.limit, where, drawn)

    def encode(self, groups: Sequence[Sequence[Sample]]) -> MicroBatch:
        """One micro-batch of these groups.

        Raises:
            FileNotFoundError, ValueError: a picture cannot be read, or a row cannot teach.
        """
        pairs = [[(one["messages"], one["images"]) for one in group] for group in groups]
        batch = self._encode_keyed(pairs) if self.keyed else self._encode(pairs)
        if not can_teach(groups, batch):
            raise CannotTeach("a conversation of the batch carries no loss, or says nothing")
        return batch

    def _encode(self, pairs: Sequence[Sequence[tuple[Any, Any]]]) -> MicroBatch:
        return self.processor.encode_groups_for_training(pairs, self.limit.tokens if self.limit else None)

    def _encode_keyed(self, pairs: Sequence[Sequence[tuple[Any, Any]]]) -> MicroBatch:
        opened = _Opened()
        decoded = [[(said, opened(number, images)) for said, images in group] for number, group in enumerate(pairs)]
        batch = self._encode(decoded)
        keys = [opened.key(picture) for group in decoded for picture in group[0][1]]
        if any(map(any, keys)):
            batch["picture_keys"] = torch.tensor([list(key) for key in keys], dtype=torch.uint8)
        return batch

    def origins(self, step: int) -> list[str]:
        """Where the rows of a step come from, for a message about it."""
        return [self.sources[source].origin(number) for source, number in self._places(step)]

    def _places(self, step: int) -> Iterator[tuple[int, int]]:
        size = self.settings.batch_size
        for place in range(step * size, (step + 1) * size):
            source, number = self.deal(place)
            yield source, fresh(self.sources[source], number)


class _Opened:
    """Pictures of a micro-batch, decoded once each however many conversations show them."""

    def __init__(self) -> None:
        self._pictures: dict[str | bytes, Image.Image] = {}
        self._keys: dict[int, bytes] = {}

    def __call__(self, group: int, sources: Sequence[Image.Image | str | bytes]) -> list[Image.Image]:
        return [self._open(source, f"group {group}, image {number}") for number, source in enumerate(sources)]

    def _open(self, source: Image.Image | str | bytes, where: str) -> Image.Image:
        if isinstance(source, Image.Image):
            return source
        if source not in self._pictures:
            picture = self._pictures[source] = load_rgb(source, where)
            self._keys[id(picture)] = pixels_key(picture)
        return self._pictures[source]

    def key(self, picture: Image.Image) -> bytes:
        return self._keys.get(id(picture), bytes(KEY_BYTES))


def _lies_beside(sample: Sample) -> bool:
    """Whether the sample's pictures are files of their own."""
    return all(isinstance(picture, str) and picture[:5].lower() != "data:" for picture in sample["images"])


def _letters(group: Sequence[Sample]) -> int:
    """Roughly how long a group's row will be."""
    contents = [message["content"] for sample in group for message in sample["messages"]]
    return sum(len(str(content)) for content in contents) + 1000 * len(group[0]["images"])


class RegionBatches(Dataset[list[MicroBatch]]):
    """Regions with their names, as `RegionContrast` takes them. A step's names are all in one language."""

    def __init__(self, recipe: Recipe, stage: Stage, processor: VLMProcessor, image_size: int, side: int):
        self.processor, self.settings, self.side = processor, recipe.optimisation_of(stage), side
        source = recipe.data_of(stage).world
        assert source is not None  # a recipe's check
        seed = recipe.seed_of(stage)
        # Of one thing's names in two languages, one would be told to be wrong.
        self.worlds = [world_of(source, seed, image_size, [language]) for language in source.languages]

    def __getitem__(self, step: int) -> list[MicroBatch]:
        first = step * self.settings.batch_size  # one micro-batch: names are told apart within it
        return [self._encode(step, range(first, first + self.settings.batch_size))]

    def origins(self, step: int) -> list[str]:
        first = step * self.settings.batch_size
        return [f"the built-in world's pictures {first} to {first + self.settings.batch_size - 1}"]

    def _encode(self, step: int, numbers: range) -> MicroBatch:
        languages, world = len(self.worlds), self.worlds[step % len(self.worlds)]
        # Names with their places by turns: a patch must say where it is, too, or no question about a place is answered.
        pictures = [world.regions(number, placed=step // languages % 2 == 1) for number in numbers]
        names = dict.fromkeys(text for one in pictures for text in one.texts)
        rows = {name: row for row, name in enumerate(names)}
        ids = [self._ids(name) for name in names]
        return self._located(pictures) | {
            "region_text": torch.tensor([rows[text] for one in pictures for text in one.texts]),
            "text_ids": torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(one) for one in ids],
                batch_first=True,
                padding_value=self.processor.tokenizer.pad_token_id,
            ),
            "text_length": torch.tensor([len(one) for one in ids]),
        }

    def _located(self, pictures: Sequence[Regions]) -> MicroBatch:
        boxes = [box for one in pictures for box in one.boxes]
        images = [number for number, one in enumerate(pictures) for _ in one.texts]
        pixels = self.processor.image_processor([one.image for one in pictures], return_tensors="pt")["pixel_values"]
        return {
            "pixel_values": pixels,
            "region_image": torch.tensor(images),
            "region_patches": patch_weights(boxes, self.side),
        }

    def _ids(self, name: str) -> list[int]:
        ids = self.processor.tokenizer(name, add_special_tokens=False)["input_ids"]
        if len(ids) > TEXT_LENGTH:
            raise ValueError(f"the name {name!r} has {len(ids)} tokens, but a region's name has {TEXT_LENGTH} at most")
        return ids


class WordBatches(RegionBatches):
    """Regions with the words of their names in all languages and of their places, as `RegionWords` takes them."""

    def _encode(self, step: int, numbers: range) -> MicroBatch:
        languages = [language for world in self.worlds for language in world.languages]
        pictures = [self.worlds[0].regions(number, placed=True, languages=languages) for number in numbers]
        words = [torch.tensor(self._words(text)) for one in pictures for text in one.texts]
        padded = torch.nn.utils.rnn.pad_sequence(words, batch_first=True, padding_value=-100)
        return self._located(pictures) | {"region_words": padded}

    def _words(self, text: str) -> list[int]:
        # With the space before it, as in a sentence: to the tokenizer a word at the start is another one.
        return list(dict.fromkeys(self.processor.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]))


def open_batches(recipe: Recipe, stage: Stage, processor: VLMProcessor, vision: Any) -> StageBatches | RegionBatches:
    """What a stage reads, for a tower configured as `vision`.

    Raises:
        FileNotFoundError, ValueError: as `open_sources`.
    """
    if stage.reads_regions:
        if stage.is_words:  # it reads projected features, of which pixel shuffle leaves fewer than patches
            return WordBatches(recipe, stage, processor, vision.image_size, math.isqrt(processor.num_image_tokens))
        return RegionBatches(recipe, stage, processor, vision.image_size, vision.image_size // vision.patch_size)
    return StageBatches(recipe, stage, processor, vision.image_size)


class _From(Sampler[int]):
    def __init__(self, step: int):
        self.step = step

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.step)


class _OrError(Dataset[Any]):
    """Items of a dataset, or the errors that making them gave: raised in a worker, they would carry its traceback."""

    def __init__(self, dataset: StageBatches | RegionBatches):
        self.dataset = dataset

    def __getitem__(self, step: int) -> list[MicroBatch] | Exception:
        try:
            return self.dataset[step]
        except (ValueError, OSError) as error:
            return error


def batches_from(
    dataset: StageBatches | RegionBatches, step: int, workers: int, position_limit: int | None = None
) -> Generator[list[MicroBatch]]:
    """The batches of `step` and after, in order and without end, made beside the training by `workers`.

    Every row is checked when its batch is made.

    Raises:
        FileNotFoundError, ValueError: as the dataset's items, in one line, at the step that cannot be made.
    """
    if isinstance(dataset, StageBatches) and any(rows.is_in_order_only for rows in dataset.files):
        workers = min(workers, 1)  # each would read all of them
    loader = DataLoader(
        _OrError(dataset),
        batch_size=None,
        sampler=_From(step),
        num_workers=workers,
        generator=torch.Generator(),  # or each start would draw from the model's random numbers
        worker_init_fn=begin_worker,
        prefetch_factor=4 if workers else None,
    )
    if isinstance(dataset, StageBatches):
        dataset.limit = limit_of(dataset.settings.max_length, position_limit)
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch
