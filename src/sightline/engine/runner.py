"""The runner: one pass of the model over the works of a step, and the features of pictures.

It computes what the scheduler chose and returns logits. It knows neither how tokens are chosen from them nor when a
sequence ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sightline.engine.compiling import Compiled, mark_dynamic, mark_static
from sightline.engine.decode_pass import compiled_part, decode_pass, lay_out_decode
from sightline.engine.forward import Finish, Project, Shape, finish, head, project, run_blocks
from sightline.engine.kv_cache import PagedKVCache
from sightline.engine.paged_attention import attend
from sightline.engine.pass_inputs import lay_out, wanted
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
        compile: compile the passes when they are first needed; a warning says so where that is not possible.

    Raises:
        ValueError: the cache has another device or dtype than the model.
    """

    def __init__(self, model: Any, cache: PagedKVCache, weights: FusedWeights | None = None, compile: bool = False):
        self.model, self.cache = model, cache
        self.weights = weights or FusedWeights(model)
        self.shape = Shape.of(model.config, cache.device)
        self.window = model.config.sliding_window
        self._decode: Compiled | None = None
        self._project: Project = project
        self._finish: Finish = finish
        self._wants_compile = compile
        self._adopt()
        self._stale = False  # whether weights were replaced that could not be taken over
        self._version = self.weights.version

    @property
    def is_compiled(self) -> bool:
        """Whether decoding steps run compiled, or will from the first one on."""
        return self._decode is not None and self._decode.is_compiled

    def refresh(self) -> bool:
        """Take over weights that were replaced, moved or merged since; whether any weight is another one.

        Raises:
            ValueError: the model has another device or dtype than the cache now.
        """
        self._stale = self.weights.refresh() or self._stale
        if self._stale:
            self._adopt()
            self._stale = False
        before, self._version = self._version, self.weights.version
        return self._version != before

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
            ValueError: an image's features are missing.
        """
        counts = [len(wanted(work, all_rows)) for work in works]
        run = self._run_decode if self.is_compiled and all(work.count == 1 for work in works) else self._run
        rows = run(works, features or {}, all_rows)
        return Logits(rows, [0, *itertools.accumulate(counts)])

    def _compile(self) -> None:
        # Anew for other weights: what is compiled does not look at them again.
        run = decode_pass(self.weights, self.model.lm_head, self.cache, self.shape, self.window)
        self._decode = Compiled(run, self.cache.device, graphs=True)
        if self._decode.graphs:
            mark_static([*self.weights.tensors(), *self.cache.layers])
        # Not on a CPU: there a prompt is all matrix products, and calling compiled parts takes longer than they save.
        if self._decode.is_compiled and self.cache.device.type == "cuda":
            self._project, self._finish = (compiled_part(part, self.cache.device) for part in (project, finish))

    def _adopt(self) -> None:
        """Take over the weights as they lie now."""
        embedding = self.weights.embedding
        if not self.cache.matches(embedding):
            raise ValueError(
                f"the KV cache is {self.cache.dtype} on {self.cache.device}, but the model is {embedding.dtype} on "
                f"{embedding.device}: make the cache, or the engine, anew"
            )
        self.rope = RopeTable(self.model.model.rotary_emb, embedding[:1])
        if self._wants_compile:
            self._compile()

    def _run(self, works: Sequence[Work], features: Mapping[bytes, Tensor], all_rows: bool) -> Tensor:
        cache, heads = self.cache, self.shape.heads
        inputs = lay_out(works, cache, self.rope, self.window, all_rows)
        hidden = self._embed(inputs.ids, works, inputs.begins, features)
        rope = self.rope.table.index_select(0, inputs.rope_rows)

        def attend_and_store(layer: int, qkv: Tensor) -> Tensor:
            cache.write(layer, inputs.slots, qkv[:, heads:])
            return attend(cache, layer, qkv[:, :heads], inputs.groups)

        layers, parts = self.weights.layers, (self._project, self._finish)
        hidden = run_blocks(layers, hidden, rope, self.shape, attend_and_store, inputs.kept, *parts)
        return head(self.weights, self.model.lm_head, hidden, self.shape)

    def _run_decode(self, works: Sequence[Work], features: Mapping[bytes, Tensor], all_rows: bool) -> Tensor:
        """As `_run`, where each work is one token."""
        assert self._decode is not None
        inputs = lay_out_decode(works, self.cache, self.rope, self.window, padded=self._decode.graphs)
        hidden = self._embed(inputs.ids, works, range(len(works)), features)
        rope = self.rope.table.index_select(0, inputs.rope_rows)
        mark_dynamic(hidden, rope, inputs.slots, inputs.tables)
        mark_dynamic(inputs.tables, inputs.starts, dim=1)
        logits = self._decode(hidden, rope, inputs.slots, inputs.tables, inputs.starts)
        kept = [index for index, work in enumerate(works) if len(wanted(work, all_rows))]
        if len(kept) < len(works):
            return logits[kept]
        # What a CUDA graph returned is overwritten by its next run.
        return logits[: len(works)].clone() if self._decode.graphs else logits

    def _embed(
        self, ids: Tensor, works: Sequence[Work], begins: Iterable[int], features: Mapping[bytes, Tensor]
    ) -> Tensor:
        """The tokens' embeddings, and the features where placeholders stand; work i's from row `begins[i]` on."""
        hidden = F.embedding(ids, self.weights.embedding)
        for work, begin in zip(works, begins, strict=True):
            for image in work.seq.prompt.images:
                first, last = max(image.start, work.start), min(image.end, work.end)
                if first < last:
                    rows = _features_of(features, image.key)[first - image.start : last - image.start]
                    hidden[begin + first - work.start : begin + last - work.start] = rows
        return hidden


def _features_of(features: Mapping[bytes, Tensor], key: bytes) -> Tensor:
    if key not in features:
        raise ValueError(f"the features of image {key.hex()[:12]} are needed, but were not given")
    return features[key]
