"""`sightline eval`: how often a model is right, by kind and language, with a page of its mistakes.

It parses, prints and names files; asking and judging are `sightline.evaluation`'s.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sightline.commands.naming import name_of
from sightline.commands.options import (
    AnswerColumn,
    Device,
    Dtype,
    Format,
    ImageColumn,
    ImageFolder,
    Prompt,
    Quantize,
    QuestionColumn,
    share_of,
)
from sightline.commands.printing import print_json
from sightline.commands.progress import counted
from sightline.whole_file import check_writable

if TYPE_CHECKING:
    from sightline.evaluation.evidence import Judged
    from sightline.evaluation.page import Comparison
    from sightline.evaluation.results import Answer
    from sightline.evaluation.tasks import Tasks

EXAMPLE = "Example: sightline eval sightline-tiny --tasks name,colour --per-kind 200"
SEED = 1  # of the test world; probes during training take another, or they would choose what they are tested on
PER_KIND = 100
ALONE = "by what stands behind the evidence alone (a number behind its list); all else asks for the whole answer"

Axis = Literal["seen", "combination", "count", "font", "word", "phrasing", "artist"]
Metric = Literal["exact", "contains", "anls", "choice"]


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="sightline-tiny, a folder or a hub id.")],
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Kinds of the built-in world (name,colour) or your data, a file or folder; all kinds if not given."
        ),
    ] = None,
    per_kind: Annotated[
        int | None,
        typer.Option(min=1, help=f"Questions a kind and language; {PER_KIND}, or a file's all, if not given."),
    ] = None,
    languages: Annotated[str | None, typer.Option(help="Of the built-in world; en,zh if not given.")] = None,
    axis: Annotated[
        Axis | None, typer.Option(help="What training never shows, besides these pictures; seen if not given.")
    ] = None,
    things: Annotated[
        int | None, typer.Option(min=1, help="How many of the world's things appear; all if not given.")
    ] = None,
    metric: Annotated[
        Metric | None,
        typer.Option(help="When an answer to a file's question is right; exact, or choice, if not given."),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="auto|SHARE", help="Only the rows of your data that training holds out, at its auto or at a share."
        ),
    ] = None,
    format: Format = None,
    image_column: ImageColumn = None,
    question_column: QuestionColumn = None,
    answer_column: AnswerColumn = None,
    prompt: Prompt = None,
    image_folder: ImageFolder = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 32,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The answer ends here at the latest; at 128, or later where a truth is long, if not given.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that make questions; cores less one, up to 8, if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where answers and page go; runs/eval-NAME if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
) -> None:
    """Measure a model on unseen pictures of the built-in world, or on the questions of a file of yours.

    Each question is asked alone, greedily. Stopped or killed, the same command goes on where it was. OUT gets
    answers.jsonl, results.json and mistakes.html.
    """
    file = _file(tasks)
    reading: dict[str, Any] = {
        "format": format,
        "image_column": image_column,
        "question_column": question_column,
        "answer_column": answer_column,
        "prompt": prompt,
    }
    out = out or Path("runs") / _run_name(model, Path(file).stem if file else tasks, axis, quantize)
    _check_folder(out)
    of_the_world = {"languages": languages, "axis": axis, "things": things}
    of_a_file = {"metric": metric, "held_out": held_out, **reading, "image_folder": image_folder}
    _refuse(
        of_the_world if file else of_a_file, f"the file {file}" if file else "the built-in world: give --tasks FILE"
    )
    from sightline.evaluation.tasks import file_tasks
    from sightline.interop.load import load

    # A file is checked before a model is loaded; the world's pictures are as large as the model wants them.
    share = None if held_out is None else share_of(held_out)
    asked = file_tasks(file, metric, image_folder, per_kind, share, **reading) if file else None
    if asked and asked.settings["split"]:
        typer.echo(f"data: {asked.settings['split']}", err=True)
    if asked and asked.passed_over.rows:
        typer.echo(f"not asked: {asked.passed_over}", err=True)
    loaded, processor = load(model, device, dtype, quantize)
    if asked is None:
        side = loaded.config.vision_config.image_size
        asked = _scene_tasks(tasks, languages or "en,zh", per_kind or PER_KIND, axis or "seen", things, side)
    how: dict[str, Any] = {"batch_size": batch_size, "max_new_tokens": max_new_tokens, "workers": _workers(workers)}
    kinds, topics, report = _measure(model, loaded, processor, asked, out, how)
    if as_json:
        print_json(report)
    else:
        _print_tables(kinds, topics)
        print(f"mistakes with their pictures: {out / 'mistakes.html'}")


def _file(tasks: str | None) -> str | None:
    """The file or folder that `--tasks` names, or None where it names kinds."""
    from sightline.data.scenes import KINDS

    if tasks in KINDS and os.path.exists(tasks):
        raise ValueError(
            f"{tasks!r} is a kind of question and a folder here: give ./{tasks}, or '{tasks},' for the kind"
        )
    if tasks is None or tasks in KINDS:
        return None
    folder = tasks.rpartition("@")[0]  # of FOLDER@SPLIT
    named = "." in tasks or "/" in tasks or os.path.exists(tasks) or (folder and os.path.exists(folder))
    return tasks if named else None


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: name a folder")
    check_writable(out / "answers.jsonl")


def _refuse(options: dict[str, Any], subject: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise ValueError(f"--{option.replace('_', '-')} says nothing about {subject}")


def _scene_tasks(kinds: str | None, languages: str, per_kind: int, axis: str, things: int | None, side: int) -> Tasks:
    from sightline.data.scenes import World
    from sightline.evaluation.tasks import scene_tasks

    options: dict[str, Any] = {"seed": SEED, "things": things, "image_size": side}
    options |= {"axis": axis} if axis != "seen" else {}
    world = World(split="test", **options)
    asked = world.kinds if kinds is None else _words("tasks", kinds)
    tasks = scene_tasks(world, asked, _words("languages", languages), per_kind)
    return replace(tasks, settings={**options, "axis": axis, **tasks.settings})


def _words(option: str, listed: str) -> list[str]:
    """The words of a list, each once, or its questions would be counted twice."""
    words = [word.strip() for word in listed.split(",") if word.strip()]
    if not words:
        raise ValueError(f"--{option} {listed!r} names nothing")
    return list(dict.fromkeys(words))


def _run_name(model: str, tasks: str | None, axis: str | None, quantize: str | None) -> str:
    """A name that tells evaluations of different models and tasks apart: runs/tiny/model is called tiny."""
    words = ["eval", Path(name_of(model)).name, *filter(None, (tasks, axis, quantize))]
    return re.sub(r"[^\w.-]+", "-", "-".join(words))[:100]


def _workers(given: int | None) -> int:
    return min(8, (os.cpu_count() or 1) - 1) if given is None else given


def _measure(
    name: str, model: Any, processor: Any, tasks: Tasks, out: Path, how: dict[str, Any]
) -> tuple[Judged, Judged, dict[str, Any]]:
    """Ask what is not answered yet; write the page and what it adds up to, by kind and by topic."""
    from sightline.evaluation.answer_file import AnswerFile, write_json
    from sightline.evaluation.answering import fingerprint, preparation
    from sightline.evaluation.evaluate import evaluate as ask
    from sightline.evaluation.evidence import Judged, judged, judged_by_topic
    from sightline.evaluation.results import Results

    # What decides the answers; how many are asked at once does not.
    dtype = str(model.dtype).removeprefix("torch.")
    fixed: dict[str, Any] = {
        "weights": fingerprint(model),
        "preparation": preparation(model, processor),
        "dtype": dtype,
    }
    fixed |= {"max_new_tokens": how["max_new_tokens"] or "by the truths", **tasks.settings}
    kept = AnswerFile(out, fixed)
    before, started = len(kept), time.perf_counter()
    with counted("eval", "answers", len(tasks.keys), before, out) as advance:
        answers = ask(model, processor, tasks, kept, **how, on_batch=_noted(advance))
    spent = {"asked_now": len(kept) - before, "seconds": round(time.perf_counter() - started, 1)}
    if "file" in tasks.settings:
        kinds, topics = Judged(Results(answers)), Judged()
    else:
        kinds, topics = judged(answers), judged_by_topic(answers)
    report = {"model": name, **fixed, "device": str(model.device), **spent, **kinds.whole.as_dict()}
    report["results_alone"] = kinds.alone.as_dict()["kinds"]
    report |= {"topics": topics.whole.as_dict()["kinds"], "topics_alone": topics.alone.as_dict()["kinds"]}
    write_json(out / "results.json", report)
    facts = {**fixed, "device": model.device}
    _write_page(out / "mistakes.html", name, tasks, answers, kinds, topics, facts)
    return kinds, topics, report


def _noted(advance: Callable[[int, str], None]) -> Callable[[Sequence[Answer]], None]:
    """Tells a bar of each batch of answers: their kind, and how many were right so far."""
    asked, right = 0, 0.0

    def on_batch(answers: Sequence[Answer]) -> None:
        nonlocal asked, right
        asked, right = asked + len(answers), right + sum(one.right for one in answers)
        advance(len(answers), f"{answers[-1].kind}  {100 * right / asked:.0f} % right")

    return on_batch


def _write_page(
    path: Path,
    name: str,
    tasks: Tasks,
    answers: list[Answer],
    kinds: Judged,
    topics: Judged,
    facts: dict[str, Any],
) -> None:
    from sightline.evaluation.environment import environment
    from sightline.evaluation.evidence import Judged
    from sightline.evaluation.examples import examples
    from sightline.evaluation.page import Accuracy, Facts, Gallery, Section, render_report
    from sightline.evaluation.results import Results

    shown = {key.replace("_", " "): ", ".join(v) if isinstance(v, list) else v for key, v in facts.items()}
    chosen = examples(tasks, answers)
    shown_wrong, wrong = (sum(one.right < 1 for one in some) for some in (chosen, answers))
    notes = [f"{shown_wrong:,} of {wrong:,} mistakes are shown; answers.jsonl has all."] if shown_wrong < wrong else []
    with_evidence = Judged(Results(one for one in answers if one.kind in kinds.alone.kinds), kinds.alone)
    sections: list[Section] = [
        Accuracy("Accuracy", kinds.whole),
        *_side_by_side("By topic", topics, rows="topic", summed=False),
        *_side_by_side("Evidence and result", with_evidence),
        Gallery("Answers", chosen, notes),
        Facts("How it was measured", {**shown, **environment()}),
    ]
    summary = f"{kinds.whole.summary()}, each asked alone and answered greedily."
    render_report(path, title=f"{name}: right and wrong answers", sections=sections, summary=summary)


def _side_by_side(heading: str, shown: Judged, **how: Any) -> list[Comparison]:
    """Whole answers and results alone as a section of the page; none, where there is nothing to show."""
    from sightline.evaluation.page import Comparison

    columns = {"whole answer": shown.whole} | ({"result alone": shown.alone} if shown.alone.kinds else {})
    notes = [f"Result alone: {ALONE}."] if shown.alone.kinds else []
    return [Comparison(heading, columns, notes, **how)] if shown.whole.kinds else []


def _print_tables(kinds: Judged, topics: Judged) -> None:
    _print_table("kind", kinds, summed=True)
    if topics.whole.kinds:
        print()
        _print_table("topic", topics, summed=False)
    print("% right, and the 95 % interval")
    if kinds.alone.kinds:
        print(f"result: {ALONE}")


def _print_table(heading: str, judged: Judged, summed: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sightline.evaluation.results import Share

    results, alone = judged.whole, judged.alone
    several = len(results.languages) > 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(heading, no_wrap=True)
    for column in [*(results.languages if several else []), "all", *(["result"] if alone.kinds else []), "n"]:
        table.add_column(Text(column or "-"), justify="right", no_wrap=True)
    for kind in [*results.kinds, *([None] if summed else [])]:
        cells = [results.share(kind, language) for language in results.languages] if several else []
        total = results.share(kind)
        cells = [*cells, total, *([alone.share(kind) if kind else Share()] if alone.kinds else [])]
        shown = [str(share) if share.total else "" for share in cells]
        table.add_row(Text(kind or "all"), *shown, f"{total.total:,}", style=None if kind else "bold")
    # A narrow terminal wraps the lines; cut to its width, they would lack figures.
    console = Console(width=1000)
    console.width = max(1, console.measure(table).maximum)
    console.print(table)
