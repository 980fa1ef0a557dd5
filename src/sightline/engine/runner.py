"""The runner: one pass of the model over the works of a step, and the features of pictures.

It computes what the scheduler chose and returns logits. It knows neither how tokens are chosen from them nor when a
sequence ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sightline.engine.forward import Shape, rms_norm, run_blocks
from sightline.engine.kv_cache import PagedKVCache
from sightline.engine.paged_attention import attend
from sightline.engine.pass_inputs import PassInputs, lay_out, wanted
from sightline.engine.rope_table import RopeTable
from sightline.engine.step import Work
from sightline.engine.weights import FusedWeights

__all__ = ["Logits", "Runner"]


@dataclass(frozen=True)
class Logits:
    """Next-token logits in the model's dtype: those of work i are `rows[offsets[i] : offsets[i + 1]]`."""

    rows: Float[Tensor, "rows vocab"]
    offsets: list[int]

    def of(self, work: int) -> Float[Tensor, "rows vocab"]:
        return self.rows[self.offsets[work] : self.offsets[work + 1]]


class Runner:
    """Runs `model` (a `CausalLM` or `VLM`) over works, with keys and values in `cache`.

    Args:
        weights: the model's, fused; made here where None.

    Raises:
        ValueError: the cache has another device or dtype than the model.
    """

    def __init__(self, model: Any, cache: PagedKVCache, weights: FusedWeights | None = None):
        self.model, self.cache = model, cache
        self.weights = weights or FusedWeights(model)
        self.shape = Shape.of(model.config, cache.device)
        self.window = model.config.sliding_window
        self._adopt()

    @torch.inference_mode()
    def image_features(
        self, pixel_values: Float[Tensor, "images 3 height width"]
    ) -> Float[Tensor, "images patches hidden"]:
        """What stands where each picture's placeholders stand."""
        features = self.model.encode_images(pixel_values.to(self.cache.device))
        return self.model.vision_proj(features.to(next(self.model.vision_proj.parameters()).dtype))

    @torch.inference_mode()
    def forward(
        self, works: Sequence[Work], features: Mapping[bytes, Tensor] | None = None, all_rows: bool = False
    ) -> Logits:
        """Compute the works' tokens in one pass and store their keys and values.

        Args:
            works: of different sequences; what a `Step` copies has been copied already (`PagedKVCache.copy`).
            features: by image key, `[patches, hidden]` of every image whose placeholders are among the tokens.
            all_rows: logits of every token, not only of the last known one and the drafts behind it.

        Raises:
            ValueError: an image's features are missing, or the model was moved or cast since.
        """
        if any(work.count > 1 for work in works) and self.weights.refresh():
            self._adopt()
        inputs = lay_out(works, self.cache, self.rope, self.window, all_rows)
        hidden = self._embed(works, inputs, features or {})
        rows = self._run(hidden, inputs)
        counts = [len(wanted(work, all_rows)) for work in works]
        return Logits(rows, [sum(counts[:index]) for index in range(len(counts) + 1)])

    def _adopt(self) -> None:
        embedding = self.weights.embedding
        if not self.cache.matches(embedding):
            raise ValueError(
                f"the KV cache is {self.cache.dtype} on {self.cache.device}, but the model is {embedding.dtype} on "
                f"{embedding.device}: make the cache, or the engine, anew"
            )
        self.rope = RopeTable(self.model.model.rotary_emb, embedding[:1])

    def _embed(self, works: Sequence[Work], inputs: PassInputs, features: Mapping[bytes, Tensor]) -> Tensor:
        hidden = F.embedding(inputs.ids, self.weights.embedding)
        for work, begin in zip(works, inputs.begins, strict=True):
            for image in work.seq.prompt.images:
                first, last = max(image.start, work.start), min(image.end, work.end)
                if first < last:
                    rows = _features_of(features, image.key)[first - image.start : last - image.start]
                    hidden[begin + first - work.start : begin + last - work.start] = rows
        return hidden

    def _run(self, hidden: Tensor, inputs: PassInputs) -> Tensor:
        cache, heads = self.cache, self.shape.heads

        def attend_and_store(layer: int, qkv: Tensor) -> Tensor:
            cache.write(layer, inputs.slots, qkv[:, heads:])
            return attend(cache, layer, qkv[:, :heads], inputs.groups)

        rope = self.rope.table.index_select(0, inputs.rope_rows)
        hidden = run_blocks(self.weights.layers, hidden, rope, self.shape, attend_and_store, inputs.kept)
        return self._head(hidden)

    def _head(self, hidden: Tensor) -> Tensor:
        normed = rms_norm(hidden, self.weights.norm, self.shape.eps)
        head = self.weights.head
        return self.model.lm_head(normed) if head is None else F.linear(normed, head)


def _features_of(features: Mapping[bytes, Tensor], key: bytes) -> Tensor:
    if key not in features:
        raise ValueError(f"the features of image {key.hex()[:12]} are needed, but were not given")
    return features[key]
