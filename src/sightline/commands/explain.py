"""`sightline explain`: what a model looked at for each word of its answer, as a page or a picture.

It parses, prints and names files; the maps and how they are drawn are `sightline.explain`'s.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.commands.inputs import open_inputs
from sightline.commands.options import Device, Dtype, Images, MaxNewTokens, Model, Quantize, Question, refuse_beside
from sightline.commands.outputs import check_out, is_page_of
from sightline.commands.printing import print_json

if TYPE_CHECKING:
    from sightline.explain.explanation import Explanation

EXAMPLE = 'Example: sightline explain photo.jpg "What is this?" --out look.html'
MARK = "sightline explain"  # in the files it writes, so that it knows them again


def explain(
    context: typer.Context,
    images: Images,
    question: Question,
    out: Annotated[
        Path | None,
        typer.Option(help="A page (.html) or a contact sheet (.png); look.html if neither this nor --json is given."),
    ] = None,
    answer: Annotated[str | None, typer.Option(help="The answer to explain; the model's own if not given.")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="Attention of this layer alone, from 0.")] = None,
    head: Annotated[int | None, typer.Option(min=0, help="Attention of this head alone, from 0.")] = None,
    rollout: Annotated[bool, typer.Option("--rollout", help="Follow attention through all layers.")] = False,
    occlusion: Annotated[bool, typer.Option(help="Also hide parts of the picture and see what is lost.")] = True,
    window: Annotated[
        int | None, typer.Option(min=1, help="Patches a side of what is hidden; a third of the picture if not given.")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Patches that the window moves at a time; half a window if not given.")
    ] = None,
    memory: Annotated[int, typer.Option(min=1, help="MiB that attention, or hidden windows, may take.")] = 512,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT, whatever it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Words and maps as one JSON object.")] = False,
    model: Model = "sightline-tiny",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    max_new_tokens: MaxNewTokens = 128,
) -> None:
    """Show which patches each word of an answer came from: attention, and what hiding them costs.

    --window 1 hides every patch alone; the default needs at most 49 passes a picture.
    """
    out = out or (None if as_json else Path("look.html"))
    _check_out(out, force)
    if answer is not None:
        refuse_beside(context, ("max_new_tokens",), "--answer, which is not generated")
    pictures, question = open_inputs(images, question)
    if not pictures:
        raise ValueError(f"a picture and a question are needed: {EXAMPLE}")
    if not occlusion and (window or stride):
        raise ValueError(f"{'--window' if window else '--stride'} says nothing without occlusion")
    from sightline.explain.explaining import explain as look
    from sightline.interop.load import load

    loaded, processor = load(model, device, dtype, quantize)
    content = [*({"type": "image", "image": picture} for picture in pictures), {"type": "text", "text": question}]
    with _progress() as on_progress:
        found = look(
            loaded,
            processor,
            [{"role": "user", "content": content}],
            answer,
            occlusion=occlusion,
            layer=layer,
            head=head,
            rollout=rollout,
            window=window,
            stride=stride,
            max_new_tokens=max_new_tokens,
            memory=memory * 2**20,
            on_progress=on_progress,
        )
    if as_json:
        print_json({"model": model, "question": question, **found.as_dict()})
    else:
        _print_words(found)
    if out is not None:
        _write(out, found, pictures, question, model, loaded)
        print(f"written: {out}", file=sys.stderr if as_json else sys.stdout)


def _check_out(out: Path | None, force: bool) -> None:
    """Refuse what cannot be written or is somebody's."""
    if out is None:
        return
    if out.suffix not in (".html", ".png"):
        raise ValueError(f"--out is a page (.html) or a contact sheet (.png), but not {str(out)!r}")
    check_out(out, is_page_of(MARK) if out.suffix == ".html" else _is_our_sheet, f"from {MARK}", force)


def _is_our_sheet(file: bytes) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(file), formats=("PNG",)) as picture:
            return picture.info.get("Software") == MARK
    except (UnidentifiedImageError, OSError, ValueError):
        return False


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal; gone when done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("hidden windows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("windows", total=None, visible=False)
        yield lambda done, total: progress.update(bar, completed=done, total=total, visible=True)


def _write(out: Path, found: Explanation, pictures: list[Any], question: str, name: str, model: Any) -> None:
    if out.suffix == ".png":
        from sightline.explain.sheet import write_sheet

        write_sheet(out, found, pictures, question, software=MARK)
        return
    from sightline.explain.page import write_page

    hidden = f"{found.window} x {found.window} patches, every {found.stride}" if found.window else "nothing"
    facts = {"model": name, "dtype": str(model.dtype).removeprefix("torch."), "attention": found.attention_from}
    facts |= {"hidden": hidden, "patches": " x ".join(map(str, found.grid))}
    write_page(out, found, pictures, question, facts, generator=MARK)


def _print_words(found: Explanation) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("word")
    for column in ("probability", "on pictures", *(["largest loss"] if found.window else [])):
        table.add_column(column, justify="right")
    for word in found.words:
        loss = [f"{100 * word.loss:.1f}"] if found.window else []
        table.add_row(Text(word.text), f"{word.probability:.1%}", f"{word.on_pictures:.0%}", *loss)
    # What is not a terminal has no width to be cut to.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if found.window:
        print("largest loss: points of probability that hiding one window takes away")
