"""Inference for many conversations at once: paged KV cache, continuous batching, caches that know pictures."""
