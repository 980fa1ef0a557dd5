"""`sightline data`: your own data looked at before anything is trained on it. `check`, `show`, `stats`.

It parses, prints and names files; reading and judging are `sightline.data`'s.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.commands.options import (
    AnswerColumn,
    Format,
    ImageColumn,
    ImageFolder,
    Model,
    Prompt,
    QuestionColumn,
    share_of,
)
from sightline.commands.outputs import check_out, is_page_of
from sightline.commands.printing import print_json

if TYPE_CHECKING:
    from sightline.data.check import Report
    from sightline.data.readers import Data
    from sightline.data.readers.divided import Divided

EXAMPLE = "Example: sightline data check photos"

app = typer.Typer(help="Look at your own data before you train on it.", no_args_is_help=True)

DataPath = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="JSON, JSONL, CSV, Parquet, WebDataset shards; a folder; or hub:ORGANISATION/NAME."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first rows.")]
Streaming = Annotated[bool, typer.Option("--streaming", help="Read a dataset of the hub without keeping it.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of the summary.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the page, whatever it is.")]


@app.command(epilog=EXAMPLE)
def check(
    data: DataPath,
    fix: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a copy without bad and repeated rows into a new folder."),
    ] = None,
    keep_pictures: Annotated[
        bool, typer.Option("--keep-pictures", help="Of --fix: name pictures where they lie, instead of copying them.")
    ] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the whole report to a JSON file.")] = None,
    most: Annotated[int, typer.Option("--list", min=0, help="Problems that are listed one by one.")] = 20,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens a row may have; as many as the model reads if not given.")
    ] = None,
    max_answer: Annotated[
        int | None,
        typer.Option(min=1, help="Warn of answers of more tokens; half of --max-length if not given."),
    ] = None,
    min_side: Annotated[int, typer.Option(min=1, help="Pixels that a picture's shorter side must have.")] = 16,
    held_out: Annotated[
        str, typer.Option(help="The share of pictures for which the split is told; auto: as training divides them.")
    ] = "auto",
    format: Format = None,
    image_column: ImageColumn = None,
    question_column: QuestionColumn = None,
    answer_column: AnswerColumn = None,
    prompt: Prompt = None,
    image_folder: ImageFolder = None,
    limit: Limit = None,
    streaming: Streaming = False,
    model: Model = "sightline-tiny",
    as_json: AsJson = False,
) -> None:
    """Read every row and picture once, and say what is wrong with which. DATA itself is never changed.

    Exit code 1 where rows are bad: those that training would stop at, or would learn from what nobody wants.
    """
    from sightline.data.check import Limits, write_clean
    from sightline.data.check import check as examine
    from sightline.whole_file import check_new

    share = share_of(held_out)
    _refuse_inside(data, {"--fix": fix, "--report": report})
    if keep_pictures and fix is None:
        raise ValueError("--keep-pictures is for --fix: give a folder for the good rows")
    if fix is not None:
        check_new(fix)
        if report is not None and report.resolve().is_relative_to(fix.resolve()):
            raise ValueError(f"--report {report} lies in {fix}, which must be empty for --fix: name another file")
    if report is not None:
        check_out(report, lambda file: b'"findings_left_out"' in file, "a report of sightline data")
    options = (format, image_column, question_column, answer_column, prompt, image_folder, limit, streaming)
    opened = _open(data, options, divided=share == "auto")
    config, processor = _processor(model)
    most_tokens = min(filter(None, (max_length, config.max_position_embeddings)))
    limits = Limits(tokens=most_tokens, answer=max_answer, side=min_side)
    with _bar("check", opened) as advance:
        found = examine(opened, processor, limits, share, lambda bad: advance(f"{bad} bad" if bad else ""))
    _say(found, model, most, as_json)
    if report is not None:
        _write_json(report, found.as_dict() | {"model": model})
    if fix is not None:
        with _bar("copy", opened) as advance:
            written = write_clean(opened, found, fix, lambda: advance(""), copy_pictures=not keep_pictures)
        rows = fix / "data.jsonl"
        where = rows if rows.exists() else f"{fix / 'train'} and {fix / 'test'}"
        print(f"written: {where} ({written} of {found.rows} rows)", file=sys.stderr if as_json else sys.stdout)
    if found.bad:
        raise typer.Exit(1)


@app.command(epilog="Example: sightline data show photos --out show.html")
def show(
    data: DataPath,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("show.html"),
    count: Annotated[int, typer.Option(min=1, help="Rows that are shown, spread over all.")] = 12,
    format: Format = None,
    image_column: ImageColumn = None,
    question_column: QuestionColumn = None,
    answer_column: AnswerColumn = None,
    prompt: Prompt = None,
    image_folder: ImageFolder = None,
    limit: Limit = None,
    streaming: Streaming = False,
    model: Model = "sightline-tiny",
    force: Force = False,
) -> None:
    """Make a page of rows as the model sees them: pictures after preprocessing, and which tokens carry loss."""
    from sightline.data.page import write_rows
    from sightline.data.seen import see

    _check_page(out, force)
    options = (format, image_column, question_column, answer_column, prompt, image_folder, limit, streaming)
    opened = _open(data, options)
    config, processor = _processor(model)
    rows = [see(where, row, processor) for where, row in _spread(opened, count)]
    side = config.vision_config.image_size
    facts = {"data": opened.path, "format": opened.format, "rows": f"{len(rows)} of {_count(opened)}"}
    facts |= {"model": model, "a picture": f"{side} x {side} pixels, {processor.num_image_tokens} tokens"}
    write_rows(out, "Rows as the model sees them", rows, facts)
    print(f"{opened.path}: {opened.format}\nwritten: {out}")


@app.command(epilog="Example: sightline data stats photos --out stats.html")
def stats(
    data: DataPath,
    out: Annotated[Path | None, typer.Option(help="A page (.html) of the same.")] = None,
    format: Format = None,
    image_column: ImageColumn = None,
    question_column: QuestionColumn = None,
    answer_column: AnswerColumn = None,
    prompt: Prompt = None,
    image_folder: ImageFolder = None,
    limit: Limit = None,
    streaming: Streaming = False,
    model: Model = "sightline-tiny",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw how answers, lengths and pictures are distributed, and what could be guessed without looking."""
    from sightline.commands.data_figures import print_figures
    from sightline.data.page import write_figures
    from sightline.data.statistics import gather

    if out is not None:
        _check_page(out, force)
    options = (format, image_column, question_column, answer_column, prompt, image_folder, limit, streaming)
    opened = _open(data, options)
    _, processor = _processor(model)
    with _bar("read", opened) as advance:
        found = gather(opened, processor, lambda unread: advance(f"{unread} cannot be read" if unread else ""))
    if as_json:
        print_json(found.as_dict() | {"model": model})
    else:
        print_figures(found)
    if out is not None:
        guessed = found.guessed()
        facts = {"data": opened.path, "format": opened.format, "rows": f"{found.rows:,}", "tokens of": model}
        facts |= {"cannot be read": f"{found.unread:,}"} if found.unread else {}
        if guessed is not None:
            facts["guessed"] = f"{guessed:.1%} right without looking: each question's most frequent answer"
        write_figures(out, "What the data is made of", found, facts)
        print(f"written: {out}", file=sys.stderr if as_json else sys.stdout)


def _open(data: str, options: tuple[Any, ...], divided: bool = True) -> Data | Divided:
    """What training would read of `data`; not `divided`: without a held-out split of its own."""
    from sightline.data.readers import open_data
    from sightline.data.readers.divided import open_divided

    open_rows = open_divided if divided else open_data
    names = (
        "format",
        "image_column",
        "question_column",
        "answer_column",
        "prompt",
        "image_folder",
        "limit",
        "streaming",
    )
    return open_rows(data, **dict(zip(names, options, strict=True)))


def _processor(model: str) -> tuple[Any, Any]:
    from sightline.interop.load import load_processor

    return load_processor(model)


def _count(data: Data | Divided) -> str:
    return "a stream" if data.is_streamed else f"{len(data):,}"


def _spread(data: Data | Divided, count: int) -> Iterator[Any]:
    """`count` rows, or all, evenly spread from the first to the last; of a stream the first ones."""
    if data.is_streamed:
        return (row for row, _ in zip(data.attempts(), range(count), strict=False))
    last, steps = len(data) - 1, min(count, len(data)) - 1
    return data.subset([n * last // max(1, steps) for n in range(steps + 1)]).attempts()


@contextmanager
def _bar(what: str, data: Data | Divided) -> Iterator[Callable[[str], None]]:
    """A bar on stderr, where that is a terminal; gone when done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    off = not sys.stderr.isatty()
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=off) as progress:
        bar = progress.add_task(what, total=None if data.is_streamed else len(data), note="")
        yield lambda note: progress.update(bar, advance=1, note=note)


def _say(found: Report, model: str, most: int, as_json: bool) -> None:
    from sightline.commands.data_figures import print_report

    if as_json:
        print_json(found.as_dict() | {"model": model})
    else:
        print_report(found, model, most)


def _refuse_inside(data: str, targets: dict[str, Path | None]) -> None:
    """What lay in DATA would be taken for a part of it the next time."""
    for option, path in targets.items():
        if path is not None and os.path.isdir(data) and path.resolve().is_relative_to(Path(data).resolve()):
            raise ValueError(f"{option} {path} lies in {data}, which is never changed: name another place")


def _check_page(out: Path, force: bool) -> None:
    """Refuse, before anything is read, what cannot be written or is somebody's."""
    from sightline.data.page import MARK

    if out.suffix != ".html":
        raise ValueError(f"--out is a page (.html), but not {str(out)!r}")
    check_out(out, is_page_of(MARK), f"a page of {MARK}", force)


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    from sightline.whole_file import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(fields, ensure_ascii=False, indent=1) + "\n")
