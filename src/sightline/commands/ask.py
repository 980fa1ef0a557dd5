"""`sightline ask`: a question about any number of pictures, answered as it is generated."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

from sightline.commands.options import Device, Dtype, MaxNewTokens, Model, Quantize, Seed, Temperature

EXAMPLE = 'Example: sightline ask photo.jpg "What is this?"'


def ask(
    images: Annotated[
        list[str],
        typer.Argument(
            default_factory=list, metavar="IMAGE", show_default=False, help="Image files; '-' reads one from stdin."
        ),
    ],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question; '-' reads it from stdin.")],
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
    pictures, text = _read(images, question)
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


def _read(sources: list[str], question: str) -> tuple[list[Any], str]:
    """Open everything before a model is loaded: what is wrong with the input is said at once."""
    from sightline.images import MAX_BYTES, open_image, to_rgb

    if [*sources, question].count("-") > 1:
        raise ValueError("stdin ('-') can be read once: as one image or as the question")
    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise ValueError("the question is empty")
    if not sources and os.path.isfile(question):
        raise ValueError(f"{question!r} is a file: give the question after it")
    return [to_rgb(open_image(sys.stdin.buffer.read(MAX_BYTES) if s == "-" else s)) for s in sources], question


def _write(piece: str) -> None:
    print(piece, end="", flush=True)
