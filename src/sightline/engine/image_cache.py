"""Image features by key, within a budget of bytes: what was used least recently goes first.

It knows neither pictures nor how keys and features come about. Eviction drops the cache's own reference alone, so
features that a caller holds stay whole.
"""

from __future__ import annotations

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor

__all__ = ["ImageCache"]


class ImageCache:
    """A map from an image's key to its features. Keys are compared whole, whatever they have in common.

    `bytes` never exceeds `max_bytes`; 0 keeps nothing. `hits` and `misses` count calls of `get`.

    Raises:
        ValueError: `max_bytes` is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes={max_bytes} is negative: give 0 to keep no image features")
        self.max_bytes = max_bytes
        self.bytes = self.hits = self.misses = self.evictions = 0
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()  # the least recently used first

    def __contains__(self, key: bytes) -> bool:
        """Whether `get` would find it; this is no use, and counts as none."""
        return key in self._features

    def __len__(self) -> int:
        return len(self._features)

    def get(self, key: bytes) -> Float[Tensor, "patches hidden"] | None:
        """The features, not to be written to, or None."""
        if key not in self._features:
            self.misses += 1
            return None
        self.hits += 1
        self._features.move_to_end(key)
        return self._features[key]

    def put(self, key: bytes, features: Float[Tensor, "patches hidden"]) -> Float[Tensor, "patches hidden"]:
        """Keep `features`, unless they alone exceed the budget, and evict what no longer fits beside them.

        Returns:
            what to hold instead of `features`: a copy where they are a part of a larger tensor, whose memory would
            otherwise outlive its other parts, uncounted.
        """
        self._drop(key)
        if features.nbytes > self.max_bytes:
            return features
        while self.bytes + features.nbytes > self.max_bytes:
            self._drop(next(iter(self._features)))
            self.evictions += 1
        kept = features.detach()
        if kept.untyped_storage().nbytes() != kept.nbytes:
            kept = kept.clone()
        self._features[key] = kept
        self.bytes += kept.nbytes
        return kept

    def clear(self) -> None:
        """Drop everything, as when the model's weights have changed. The counters stay."""
        self._features.clear()
        self.bytes = 0

    def _drop(self, key: bytes) -> None:
        features = self._features.pop(key, None)
        self.bytes -= 0 if features is None else features.nbytes
