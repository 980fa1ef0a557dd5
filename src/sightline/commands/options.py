"""The options that several commands share, worded once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sightline.data.readers.sides import Share

Images = Annotated[
    list[str],
    typer.Argument(
        default_factory=list, metavar="IMAGE", show_default=False, help="Image files; '-' reads one from stdin."
    ),
]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="The question; '-' reads it from stdin.")]
Model = Annotated[str, typer.Option("--model", "-m", help="sightline-tiny, a folder or a hub id.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="The answer ends here at the latest.")]
Temperature = Annotated[float, typer.Option(min=0, help="0: always the likeliest token; above: sample.")]
Seed = Annotated[int | None, typer.Option(help="Makes sampling repeatable.")]
Quantize = Annotated[
    str | None,
    typer.Option(help="int8: the language model's weights in a quarter of the memory; torchao: the same on a GPU."),
]
Format = Annotated[
    str | None,
    typer.Option(help="chat, llava, minimind-v, cauldron, table or classes; found out if not given."),
]
ImageColumn = Annotated[str | None, typer.Option(help="The column of the picture, where it has no usual name.")]
QuestionColumn = Annotated[str | None, typer.Option(help="That of the question.")]
AnswerColumn = Annotated[str | None, typer.Option(help="That of the answer.")]
Prompt = Annotated[str | None, typer.Option(help="What is asked where a row has no question of its own.")]
ImageFolder = Annotated[Path | None, typer.Option(help="Where paths of pictures start; beside the rows if not given.")]


def refuse_beside(context: typer.Context, names: Iterable[str], other: str) -> None:
    """Refuse options that say nothing beside `other`, where they were given.

    Raises:
        ValueError: one of `names` stands on the command line.
    """
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ValueError(f"--{name.replace('_', '-')} says nothing beside {other}")


def share_of(held_out: str) -> Share:
    """What --held-out says.

    Raises:
        ValueError: it is neither auto nor a share.
    """
    if held_out == "auto":
        return "auto"
    try:
        share = float(held_out)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ValueError(f"--held-out is auto or a share between 0 and 1, but is {held_out!r}")
    return share
