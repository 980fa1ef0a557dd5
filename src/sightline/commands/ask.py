"""`sightline ask`: a question about any number of pictures, answered as it is generated."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from sightline.commands.inputs import open_inputs
from sightline.commands.options import (
    Device,
    Dtype,
    Images,
    MaxNewTokens,
    Model,
    Quantize,
    Question,
    Seed,
    Temperature,
)

EXAMPLE = 'Example: sightline ask photo.jpg "What is this?"'


def ask(
    images: Images,
    question: Question,
    model: Model = "sightline-tiny",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    max_new_tokens: MaxNewTokens = 128,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the stream.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Time to first token and tokens/s, on stderr.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Draw the pictures in the terminal first.")] = False,
) -> None:
    """Ask a question about pictures."""
    pictures, text = open_inputs(images, question)
    if show and not as_json:
        from sightline.commands.terminal_picture import draw

        for picture in pictures:
            draw(picture)
    from sightline.commands.answering import as_dict, stats_line, stream_answer
    from sightline.engine.engine import Engine
    from sightline.interop.load import load

    content = [*({"type": "image", "image": picture} for picture in pictures), {"type": "text", "text": text}]
    with Engine(*load(model, device, dtype, quantize)) as engine:
        reply = stream_answer(
            engine,
            [{"role": "user", "content": content}],
            on_text=(lambda _: None) if as_json else _write,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
    print(json.dumps({"model": model, **as_dict(reply)}, ensure_ascii=False) if as_json else "")
    if stats:
        print(stats_line(reply), file=sys.stderr)


def _write(piece: str) -> None:
    print(piece, end="", flush=True)
