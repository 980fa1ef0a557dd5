"""Fusion's time as a multiple of copying the embeddings: `python benchmarks/fusion.py`.

Batch 32, two images of 196 patches in each sample of 512 tokens, width 512, fp32, one thread. Exits with 1 above
the limit. The plain loop (SPEC section 4 as it reads: slide a window over each sample, splice) is timed beside it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sightline.nn.fusion import find_runs, fuse

LIMIT = 1.5
BATCH, SEQ, HIDDEN, IMAGES, PATCHES, IMAGE_ID = 32, 512, 512, 2, 196, 34
ROUNDS = 31


def plain_loop(tokens: Tensor, h: Tensor, features: Tensor) -> Tensor:
    """text_prefix + vision + text_suffix, sample by sample."""
    run, image, samples = [IMAGE_ID] * PATCHES, 0, []
    for row, states in zip(tokens.tolist(), h, strict=True):
        parts, at, done = [], 0, 0
        while at + PATCHES <= len(row):
            if row[at : at + PATCHES] != run:
                at += 1
                continue
            parts += [states[done:at], features[image]]
            image, at = image + 1, at + PATCHES
            done = at
        samples.append(torch.cat([*parts, states[done:]]))
    return torch.stack(samples)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens with each sample's two runs somewhere, embeddings, and features."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(100, 1000, (BATCH, SEQ), generator=generator)
    for row in tokens:
        first, second = torch.randint(0, SEQ // 2 - PATCHES, (2,), generator=generator).tolist()
        row[first : first + PATCHES] = IMAGE_ID
        row[SEQ // 2 + second :][:PATCHES] = IMAGE_ID
    h = torch.randn(BATCH, SEQ, HIDDEN, generator=generator)
    return tokens, h, torch.randn(BATCH * IMAGES, PATCHES, HIDDEN, generator=generator)


def medians(functions: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Seconds; the functions take turns, so that what else the machine does falls on all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    torch.set_num_threads(1)
    tokens, h, features = inputs()
    functions = {
        "h.clone()": h.clone,
        "fusion": lambda: fuse(h, find_runs(tokens, IMAGE_ID, PATCHES), features),
        "plain loop": lambda: plain_loop(tokens, h, features),
    }
    if not torch.equal(functions["fusion"](), functions["plain loop"]()):
        print("fusion and the plain loop differ")
        return 1
    seconds = medians(functions)
    print(f"batch {BATCH} x {IMAGES} images, {SEQ} tokens, width {HIDDEN}, 1 thread, median of {ROUNDS}")
    for name, median in seconds.items():
        print(f"{name:12} {median * 1e3:7.2f} ms  {median / seconds['h.clone()']:5.2f} x clone")
    ratio = seconds["fusion"] / seconds["h.clone()"]
    print(f"limit {LIMIT}: {'ok' if ratio <= LIMIT else 'missed'}")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
