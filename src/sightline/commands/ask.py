"""`sightline ask`: a question about any number of pictures, answered as it is generated, or given answers weighed.

It parses and prints; how answers come about, and how probable they are, is the engine's business.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

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
    refuse_beside,
)
from sightline.commands.printing import print_json

if TYPE_CHECKING:
    from sightline.engine.scoring import Score

EXAMPLE = 'Example: sightline ask photo.jpg "What is this?"'
# What says how an answer is generated, and so nothing where answers are given.
GENERATING = ("max_new_tokens", "temperature", "seed", "stats")


def ask(
    context: typer.Context,
    images: Images,
    question: Question,
    model: Model = "sightline-tiny",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    max_new_tokens: MaxNewTokens = 128,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    choices: Annotated[
        str | None, typer.Option(help="Answers, as yes,no: say how probable each is, and generate none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the stream.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Time to first token and tokens/s, on stderr.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Draw the pictures in the terminal first.")] = False,
) -> None:
    """Ask a question about pictures."""
    if as_json:
        refuse_beside(context, ("show",), "--json")
    answers = None if choices is None else _answers(choices, context)
    pictures, text = open_inputs(images, question)
    if show:
        from sightline.commands.terminal_picture import draw

        for picture in pictures:
            draw(picture)
    from sightline.commands.answering import as_dict, stats_line, stream_answer
    from sightline.engine.engine import Engine
    from sightline.interop.load import load

    content = [*({"type": "image", "image": picture} for picture in pictures), {"type": "text", "text": text}]
    messages = [{"role": "user", "content": content}]
    with Engine(*load(model, device, dtype, quantize)) as engine:
        if answers is not None:
            _say_scores(model, engine.score(messages, answers), as_json)
            return
        reply = stream_answer(
            engine,
            messages,
            on_text=(lambda _: None) if as_json else _write,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
    if as_json:
        print_json({"model": model, **as_dict(reply)})
    else:
        print()
    if stats:
        print(stats_line(reply), file=sys.stderr)


def _write(piece: str) -> None:
    print(piece, end="", flush=True)


def _answers(choices: str, context: typer.Context) -> list[str]:
    """The answers in `--choices`, before any model is loaded for them."""
    refuse_beside(context, GENERATING, "--choices, where no answer is generated")
    answers = [answer.strip() for answer in choices.split(",")]
    if not all(answers):
        raise ValueError(f"--choices is answers with commas between them, as yes,no, but not {choices!r}")
    if len(set(answers)) < len(answers):
        raise ValueError(f"--choices has two alike: give each once, but not {choices!r}")
    return answers


def _say_scores(model: str, scores: list[Score], as_json: bool) -> None:
    """In the order given as JSON, which programs read; the likeliest first to a person."""
    if as_json:
        listed = [{"text": one.text, "probability": one.probability, "logprob": one.logprob} for one in scores]
        print_json({"model": model, "choices": listed})
        return
    from rich.cells import cell_len

    width = max(cell_len(one.text) for one in scores)
    for one in sorted(scores, key=lambda one: -one.probability):
        print(f"{one.text}{' ' * (width - cell_len(one.text))}  {one.probability:6.1%}")
