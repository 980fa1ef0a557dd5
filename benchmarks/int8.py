"""Int8 layers against plain ones, as multiples of a float32 layer's time, on one thread: `python benchmarks/int8.py`.

Per shape [out, in] and number of rows, each of these has a column: a bfloat16 layer; int8 weights through the kernel
in bfloat16; the same integers dequantised and multiplied in float32. `FEW_ROWS` in engine/int8.py is where kernel and
dequantised product meet. All take turns within one run, and the least processor time of each is taken, so that what
else the machine does falls out of it as far as it can.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sightline.engine import int8
from sightline.engine.int8 import Int8Linear, quantize_weight

SHAPES = [(256, 256), (512, 256), (1024, 1024), (2816, 1024), (4096, 2048)]
ROWS = [1, 4, 8, 16, 64]
SECONDS = 0.3  # for each shape and number of rows


def layers(out: int, width: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """The four ways, each from float32 rows to float32 rows except the bfloat16 layer, which is given its own."""
    plain = nn.Linear(width, out, bias=False)
    weight, scale = quantize_weight(plain.weight)
    rounded = nn.Linear(width, out, bias=False, dtype=torch.bfloat16)
    kernel = Int8Linear(weight, scale, kernel_dtype=torch.bfloat16)
    return {
        "float32": plain,
        "bfloat16": lambda x: rounded(x.bfloat16()),
        "kernel": kernel,
        "dequantised": lambda x: int8._dequantised_product(x, weight, scale),
    }


def least(ways: dict[str, Callable[[Tensor], Tensor]], x: Tensor) -> dict[str, float]:
    """Seconds of processor time of each one's quickest call."""
    times = dict.fromkeys(ways, float("inf"))
    ends = time.perf_counter() + SECONDS
    for turn in range(1000):
        for name, way in ways.items():
            start = time.process_time()
            way(x)
            times[name] = min(times[name], time.process_time() - start)
        if turn >= 3 and time.perf_counter() > ends:
            break
    return times


def main() -> None:
    torch.set_num_threads(1)
    int8.FEW_ROWS = max(ROWS)
    int8.KERNEL_DTYPES = frozenset({torch.bfloat16})
    print(f"{torch.backends.cpu.get_cpu_capability()}, one thread; multiples of float32's time")
    print(f"{'out x in':>12} {'rows':>5} {'float32':>11} {'bfloat16':>9} {'kernel':>8} {'dequantised':>12}")
    for out, width in SHAPES:
        ways = layers(out, width)
        for rows in ROWS:
            seconds = least(ways, torch.randn(rows, width))
            times = {name: value / seconds["float32"] for name, value in seconds.items()}
            print(
                f"{f'{out} x {width}':>12} {rows:>5} {seconds['float32'] * 1e6:>8.0f} us {times['bfloat16']:>9.2f}"
                f" {times['kernel']:>8.2f} {times['dequantised']:>12.2f}",
                flush=True,
            )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
