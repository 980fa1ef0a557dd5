"""`sightline chat`: a conversation in the terminal, with pictures added as it goes."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from sightline.commands.options import Device, Dtype, MaxNewTokens, Model, Quantize, Seed, Temperature

EXAMPLE = "Example: sightline chat photo.jpg"
_HELP = "Type a message. /image PATH adds a picture to the next one, /clear starts over, /quit ends (or Ctrl-D)."


def chat(
    images: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Pictures to begin with.")] = None,
    model: Model = "sightline-tiny",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    max_new_tokens: MaxNewTokens = 256,
    temperature: Temperature = 0.0,
    seed: Seed = None,
) -> None:
    """Talk about pictures, turn by turn."""
    from sightline.images import open_image, to_rgb

    pending: list[Any] = [to_rgb(open_image(source)) for source in images or []]
    from sightline.engine.engine import Engine
    from sightline.interop.load import load

    with Engine(*load(model, device, dtype, quantize)) as engine:
        print(_HELP, file=sys.stderr)
        _talk(engine, pending, {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed})


def _talk(engine: Any, pending: list[Any], options: dict[str, Any]) -> None:
    from sightline.commands.answering import stream_answer

    messages: list[dict[str, Any]] = []
    while (line := _prompt()) is not None:
        command, _, argument = line.partition(" ")
        if command == "/quit":
            return
        if command == "/clear":
            messages, pending = [], []
        elif command == "/image":
            pending += _added(argument.strip())
        elif line.startswith("/"):
            print(f"there is no command {command}. {_HELP}", file=sys.stderr)
        elif line.strip():
            content = [*({"type": "image", "image": image} for image in pending), {"type": "text", "text": line}]
            turn = [*messages, {"role": "user", "content": content}]
            try:
                reply = stream_answer(engine, turn, lambda piece: print(piece, end="", flush=True), **options)
            except ValueError as error:  # too long a conversation: nothing of it is lost
                print(f"{error} (/clear starts over)", file=sys.stderr)
                continue
            print()
            # In parts: templates such as LLaVA's write nothing of a text that stands alone.
            said = {"role": "assistant", "content": [{"type": "text", "text": reply.text}]}
            messages, pending = [*turn, said], []


def _prompt() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def _added(source: str) -> list[Any]:
    from sightline.images import open_image, to_rgb

    try:
        image = to_rgb(open_image(os.path.expanduser(source)))
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return []
    print(f"added ({image.width} x {image.height}); it goes with your next message", file=sys.stderr)
    return [image]
