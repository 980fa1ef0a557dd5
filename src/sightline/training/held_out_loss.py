"""The loss on rows that are held out: the same groups every time, read as training reads them, without dropout.

It takes nothing from the run: random numbers, gradients and modes are as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from sightline.data.readers import Data
from sightline.data.sample import Sample, answers_of
from sightline.evaluation.probe import undisturbed
from sightline.images import renamed
from sightline.nn.balance import balance_loss, router_z_loss
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.training.batches import MicroBatch
from sightline.training.objectives import Conversations, Loss
from sightline.training.row_checks import Limit, check_length, checked_row
from sightline.training.sources import FileGroups

__all__ = ["HeldOutLoss"]

MOST = 256  # groups: more would make the looks longer, and the loss hardly surer
ROWS = 8 * MOST  # of a file that are put into groups: more are not needed for so many, and all of them are read
BATCH = 16  # groups
SEED = 7_777  # of which groups those are


class HeldOutLoss:
    """Mean cross-entropy over what the assistant says in the held-out rows, with matrix products in `dtype`.

    `places` are the groups that are read; there is none where no row has an answer.

    Raises:
        FileNotFoundError, ValueError: a row cannot be read, or has more tokens than `limit`; the message names it.
    """

    def __init__(self, sides: Sequence[Data], processor: VLMProcessor, limit: Limit | None, dtype: torch.dtype):
        self.processor, self.limit, self.dtype = processor, limit, dtype
        self.files = [FileGroups(_some(rows), SEED) for rows in sides]
        places = [(file, group) for file, groups in enumerate(self.files) for group in range(len(groups))]
        chosen = np.random.default_rng(SEED).permutation(len(places))[:MOST]
        # Of what has no answer there is no loss.
        self.places = [places[number] for number in chosen if self._answered(*places[number])]

    def __call__(self, model: VLM) -> float:
        objective, total, weight, device = Conversations(model), 0.0, 0, model.device
        with undisturbed(model), torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            for batch in self._batches():
                tokens = objective.weight(batch)
                moved = {name: tensor.to(device) for name, tensor in batch.items()}
                loss = objective.loss(moved, max(1, tokens))
                total += float(loss.value - _routers_share(model, loss, moved)) * tokens
                weight += tokens
        return total / max(1, weight)

    def _answered(self, file: int, group: int) -> list[Sample]:
        samples = self.files[file].samples(group)
        return [one for one in samples if all(text.strip() for text in answers_of(one) or [""])]

    def _batches(self) -> Iterator[MicroBatch]:
        for start in range(0, len(self.places), BATCH):
            places = self.places[start : start + BATCH]
            groups = [self._answered(file, group) for file, group in places]
            try:
                yield self._encode(groups)
            except (ValueError, OSError):
                for (file, group), samples in zip(places, groups, strict=True):
                    self._explain(file, group, samples)
                raise

    def _encode(self, groups: Sequence[Sequence[Sample]]) -> MicroBatch:
        pairs = [[(one["messages"], one["images"]) for one in group] for group in groups]
        return self.processor.encode_groups_for_training(pairs, self.limit.tokens if self.limit else None)

    def _explain(self, file: int, group: int, samples: Sequence[Sample]) -> None:
        """Raise the error of a group with its place, if it has one."""
        try:
            self._encode([samples])
        except (ValueError, OSError) as error:
            where = self.files[file].rows.where(*self.files[file].members(group))
            self._check_rows(samples, f"{where}, which is held out")
            raise renamed(error, f"{where}, which is held out: {error}") from None

    def _check_rows(self, samples: Sequence[Sample], where: str) -> None:
        """Raise what is wrong with a row, with its remedy, where that is known."""
        for sample in samples:
            ids, _ = checked_row(sample, self.processor, lambda: where)
            check_length(len(ids), self.limit, lambda: where)


def _routers_share(model: VLM, loss: Loss, batch: MicroBatch) -> float | torch.Tensor:
    """What the routers' balance adds to the loss of a batch: training lowers it too, but it is no cross-entropy."""
    if loss.router is None:
        return 0.0
    config, real = model.config, batch["attention_mask"]
    balance = config.aux_loss_alpha * balance_loss(loss.router, config, real, batch_size=len(real))
    return balance + config.router_z_loss_alpha * router_z_loss(loss.router, real)


def _some(rows: Data) -> Data:
    """All rows, or a fair few where they are many."""
    if len(rows) <= ROWS:
        return rows
    return rows.subset(np.random.default_rng(SEED).permutation(len(rows))[:ROWS])
