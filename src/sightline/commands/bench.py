"""`sightline bench`: how fast this model is on this machine, beside transformers and the machine's limits."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from sightline.commands.options import Device, Dtype, Model, Quantize

EXAMPLE = "Example: sightline bench --quick"


def bench(
    model: Model = "sightline-tiny",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds: about a minute with the default model.")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="The engine through torch.compile.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
) -> None:
    """Measure time to first token, decoding and throughput against transformers' generate over the same network."""
    from sightline.bench.run import bench as measure
    from sightline.bench.run import limits
    from sightline.interop.load import load

    loaded, processor = load(model, device, dtype, quantize)
    print(f"measuring {model} ({str(loaded.dtype).removeprefix('torch.')}, {loaded.device})", file=sys.stderr)
    figures = measure(loaded, processor, rounds=3 if quick else 9, batch=16, compiled=compiled)
    machine = limits(loaded, figures)
    if as_json:
        print(json.dumps({"model": model, "figures": [one.as_dict() for one in figures], "limits": vars(machine)}))
        return
    _show(figures, machine)


def _show(figures: list[Any], machine: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "sightline", "transformers", "ratio", title="medians; a ratio above 1 is in sightline's favour")
    for one in figures:
        table.add_row(
            one.name, *(f"{value:.4g} {one.unit}" for value in (one.engine, one.transformers)), f"{one.ratio:.2f}"
        )
    console = Console()
    console.print(table)
    first, second = figures[0].engine, figures[1].engine
    console.print("transformers: its generate, over the same network and weights", highlight=False)
    console.print(
        f"a second question about a picture takes {second / first:.2f} of the first one's time", highlight=False
    )
    console.print(
        f"this machine: {machine.matmul_flops / 1e9:.0f} GFLOP/s in matrix products, of which a new picture's prompt "
        f"reaches {machine.prefill_share:.0%}; {machine.copy_bytes / 1e9:.1f} GB/s of memory traffic, of which one "
        f"answer's weights take {machine.decode_share:.0%}",
        soft_wrap=True,
        highlight=False,
    )
