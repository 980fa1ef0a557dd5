"""Attention in a training step in bfloat16, as multiples of SDPA's time: `python benchmarks/training_attention.py`.

One thread, the default model's heads: a row of its language model is a picture, a trunk of some 200 tokens, and
sixteen questions that do not see each other; a row of its tower is 197 patches. The implementations take turns within
one run, and the least processor time of each is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sightline.nn.float32_attention import NAME

SECONDS = 5.0  # for each row of the table
TRUNK, BRANCHES = 200, 16


class Heads(nn.Module):
    is_causal = False

    def __init__(self, groups: int):
        super().__init__()
        self.num_key_value_groups = groups


def branches(seq: int) -> Tensor:
    """The mask of questions that share one picture, `[1, 1, seq, seq]`."""
    branch = (torch.arange(seq) - TRUNK).clamp(min=-1) * BRANCHES // (seq - TRUNK)
    seen = (branch[None] < 0) | (branch[:, None] == branch[None])
    return (seen & torch.ones(seq, seq, dtype=torch.bool).tril())[None, None]


def eagerly(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float):
    """The formula as it stands, the softmax over the scores' own dtype."""
    key, value = (part.repeat_interleave(module.num_key_value_groups, dim=1) for part in (key, value))
    scores = (query * scaling) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2), None


def least(ways: dict[str, Callable], tensors: list[Tensor], mask: Tensor | None) -> dict[str, float]:
    """Seconds of processor time of each one's quickest forward and backward pass."""
    times = dict.fromkeys(ways, float("inf"))
    heads = Heads(tensors[0].shape[1] // tensors[1].shape[1])
    ends, turn = time.perf_counter() + SECONDS, 0
    while turn < 3 or time.perf_counter() < ends:
        for name, attend in ways.items():
            start = time.process_time()
            attended, _ = attend(heads, *tensors, mask, scaling=tensors[0].shape[-1] ** -0.5)
            attended.backward(attended.detach())
            times[name] = min(times[name], time.process_time() - start)
        turn += 1
    return times


def main() -> None:
    torch.set_num_threads(1)
    ways = {name: ALL_ATTENTION_FUNCTIONS[name] for name in ("sdpa", NAME)} | {"eager": eagerly}
    print(f"{torch.backends.cpu.get_cpu_capability()}, one thread; multiples of SDPA's time in bfloat16")
    print(f"{'rows x heads x seq':>20} {'sdpa':>11} {NAME:>13} {'eager':>7}")
    for rows, heads, key_heads, seq in ((4, 8, 4, 520), (16, 6, 6, 197)):
        shapes = [(rows, count, seq, 32) for count in (heads, key_heads, key_heads)]
        tensors = [torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for shape in shapes]
        times = least(ways, tensors, branches(seq) if seq > TRUNK else None)
        shares = f"{times[NAME] / times['sdpa']:13.2f} {times['eager'] / times['sdpa']:7.2f}"
        print(f"{f'{rows} x {heads} x {seq}':>20} {times['sdpa'] * 1e3:8.1f} ms {shares}")


if __name__ == "__main__":
    main()
