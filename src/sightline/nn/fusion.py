"""Early fusion: where a run of image placeholders stands in the tokens, the image's projected features go.

Runs are found left to right without overlap, so 392 placeholders of 196 are two runs. All of it is index
arithmetic on whole batches: no loop over samples or tokens, no shape that depends on the data. Nothing here
knows how the features were made.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Placement(NamedTuple):
    """Where image tokens stand: `mask` marks every position inside a whole run, `runs` counts runs per sample."""

    mask: Bool[Tensor, "batch seq"]
    runs: Int[Tensor, " batch"]


def find_runs(tokens: Int[Tensor, "batch seq"], image_id: int, length: int) -> Placement:
    """The whole runs of `length` consecutive `image_id`s; a shorter rest of a run is ordinary text.

    >>> find_runs(torch.tensor([[7, 34, 34, 34, 34, 34, 7]]), image_id=34, length=2)
    mask [[0, 1, 1, 1, 1, 0, 0]], runs [2]
    """
    index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    is_image = tokens == image_id
    # Neighbours on either side that are no placeholder bound the stretch in which a position lies.
    before = index.masked_fill(is_image, -1).cummax(dim=1).values
    after = index.masked_fill(is_image, tokens.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    whole = (after - before - 1) // length * length
    mask = is_image & (index - before - 1 < whole)
    return Placement(mask, mask.sum(dim=1) // length)


def check_runs(runs: Int[Tensor, " batch"], images: tuple[int, ...]) -> None:
    """Every sample has as many runs as images. The one place of fusion that waits for the device.

    Args:
        images: `(batch, N)`, N images in each sample, or `(images,)`, those of all samples in reading order.

    Raises:
        ValueError: naming the sample, the runs found and the images given.
    """
    found = runs.tolist()
    if len(images) == 1:
        if sum(found) != images[0]:
            each = ", ".join(f"sample {sample}: {count}" for sample, count in enumerate(found))
            raise ValueError(
                f"found {sum(found)} runs of image placeholders ({each}), but {images[0]} images were given"
            )
        return
    if len(found) != images[0]:
        raise ValueError(f"the batch has {len(found)} samples, but images were given for {images[0]}")
    for sample, count in enumerate(found):
        if count != images[1]:
            raise ValueError(
                f"sample {sample}: found {count} runs of image placeholders, but {images[1]} images were given"
            )


def fuse(
    hidden_states: Float[Tensor, "batch seq hidden"],
    placement: Placement,
    features: Float[Tensor, "images patches hidden"],
) -> Float[Tensor, "batch seq hidden"]:
    """`hidden_states` with the features, image by image in reading order, at the places marked by the mask.

    Differentiable in both; the features take the dtype and device of `hidden_states`. The number of marked
    positions must be images x patches (`check_runs`).
    """
    mask = placement.mask.flatten()
    count = features.shape[0] * features.shape[1]
    # The k-th marked position takes the k-th feature; unmarked positions are sent to a spare slot.
    slot = torch.where(mask, mask.cumsum(0) - 1, count).clamp(max=count)
    where = torch.zeros(count + 1, dtype=torch.long, device=mask.device)
    where.scatter_(0, slot, torch.arange(mask.shape[0], device=mask.device))
    flat = hidden_states.flatten(0, 1)
    rows = features.flatten(0, 1).to(hidden_states)
    return flat.index_copy(0, where[:count], rows).view_as(hidden_states)
