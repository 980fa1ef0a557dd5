"""`sightline label`: one question about many pictures, or one a row, into a file that `sightline train` reads.

It parses, prints and names files; reading, asking and keeping are `sightline.labelling`'s.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.commands.options import Device, Dtype, MaxNewTokens, Model, Quantize, Temperature
from sightline.commands.printing import print_json
from sightline.commands.progress import counted

if TYPE_CHECKING:
    from sightline.labelling.label import Answers, Job
    from sightline.labelling.output import Outcome
    from sightline.labelling.question import Asking
    from sightline.labelling.rows import Rows

EXAMPLE = 'Example: sightline label photos --prompt "Describe the picture." --out captions.jsonl'


def label(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A folder of pictures; JSONL, CSV, Parquet or WebDataset shards; or a folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The results, NAME.jsonl; bad rows go to NAME.bad.jsonl beside it.")],
    prompt: Annotated[str | None, typer.Option(help="What to ask where a row has no question of its own.")] = None,
    image_field: Annotated[
        str | None, typer.Option(help="The field or column of the picture; image or images if not given.")
    ] = None,
    prompt_field: Annotated[
        str | None, typer.Option(help="That of a row's own question; prompt or question if not given.")
    ] = None,
    image_folder: Annotated[
        Path | None, typer.Option(help="Where paths of pictures start; beside DATA if not given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows; without it, the rest.")] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Drop what OUT holds, and begin anew; where that is stopped, leave this out to go on."
        ),
    ] = False,
    model: Model = "sightline-tiny",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    max_new_tokens: MaxNewTokens = 128,
    temperature: Temperature = 0.0,
    seed: Annotated[int, typer.Option(help="Of the samples, where the temperature is above 0.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows answered at once.")] = 32,
    ray: Annotated[bool, typer.Option("--ray", help="On all machines of a Ray cluster.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --ray: how many; one a GPU, else one a machine, if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the summary.")] = False,
) -> None:
    """Caption or question many pictures.

    Stopped or killed, the same command goes on where it was. OUT holds the rows in DATA's order, in the chat format
    that `sightline train` reads.
    """
    from sightline.engine.request import SamplingParams
    from sightline.labelling.label import Job
    from sightline.labelling.output import Outcome, Places
    from sightline.labelling.question import Asking
    from sightline.labelling.rows import open_rows

    places = Places(out)
    places.refuse_strangers()  # before a model is loaded
    rows = open_rows(data, skip=places.pictures)
    places.refuse_source(data)
    # Absolute, since a worker of --ray has another working folder.
    asking = Asking(prompt, image_field, prompt_field, image_folder and image_folder.absolute())
    _refuse(rows, asking, data)
    params = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed if temperature else None)
    job = Job(data.absolute(), asking, params, places.pictures.absolute())
    name = str(Path(model).absolute()) if Path(model).is_dir() else model
    answers = _answers(rows, job, (name, device, dtype, quantize, batch_size), _workers(ray, workers))
    with closing(answers), Outcome(places) as outcome:
        outcome.claim({**_settings(job), **answers.identity()}, restart)
        again = "the same command without --restart" if restart else "the same command"
        counts = _run(outcome, rows, job, answers, min(len(rows), limit or len(rows)), again)
    _report(outcome, counts, as_json)


def _refuse(rows: Rows, asking: Asking, data: Path) -> None:
    from sightline.labelling.rows import options_of

    options = options_of(rows)
    if asking.prompt is not None and not asking.prompt.strip():
        raise ValueError("--prompt is empty")
    if asking.prompt is None and not options:
        raise ValueError(f"{data} holds pictures without questions: give --prompt")
    for name in ("image_field", "prompt_field", "image_folder"):
        if getattr(asking, name) is not None and name not in options:
            raise ValueError(f"--{name.replace('_', '-')} says nothing about {data}")
    if asking.image_folder is not None and not asking.image_folder.is_dir():
        raise FileNotFoundError(f"there is no folder {asking.image_folder} to take the pictures from")


def _workers(ray: bool, workers: int | None) -> int | None:
    """None: here; 0: as many as the cluster suggests."""
    if workers is not None and not ray:
        raise ValueError("--workers says nothing without --ray")
    return (workers or 0) if ray else None


def _answers(rows: Rows, job: Job, model: tuple[str, str, str, str | None, int], workers: int | None) -> Answers:
    from sightline.labelling.label import LoadedModel, LocalAnswers

    batch_size = model[-1]
    if workers is None:
        return LocalAnswers(rows, job, LoadedModel(*model), batch_size)
    from sightline.labelling.on_ray import RayAnswers, Work

    return RayAnswers(Work(job, len(rows), partial(LoadedModel, *model), batch_size), workers)


def _settings(job: Job) -> dict[str, Any]:
    """What decides the answers; where the rows lie and how many are answered at once does not."""
    asking, params = job.asking, job.params
    asked = {name: getattr(asking, name) for name in ("prompt", "image_field", "prompt_field")}
    return asked | {name: getattr(params, name) for name in ("max_new_tokens", "temperature", "seed")}


def _run(
    outcome: Outcome, rows: Rows, job: Job, answers: Answers, total: int, again: str = "the same command"
) -> dict[str, Any]:
    """Check what is there, answer the rest up to `total`, and count; `again` is what goes on where it is stopped."""
    from sightline.labelling.label import check

    done = 0
    if not outcome.is_new:
        with counted("check", "rows", len(rows), 0) as advance:
            done = check(outcome, rows, job, lambda: advance(1, ""))
    started = time.perf_counter()
    if done < total:
        with counted("label", "rows", total, done, outcome.places.out, again) as advance:
            for record in answers.records(done, total):
                outcome.add(record)
                advance(1, f"{outcome.bad} bad" if outcome.bad else "")
    counts = {"rows": len(rows), "labelled": outcome.labelled, "bad": outcome.bad, "cut": outcome.cut}
    return counts | {"asked_now": max(0, total - done), "seconds": round(time.perf_counter() - started, 1)}


def _report(outcome: Outcome, counts: dict[str, Any], as_json: bool) -> None:
    places, first = outcome.places, outcome.first_bad
    if as_json:
        print_json({"out": str(places.out), **counts})
    else:
        print(_summary(outcome, counts))
    if first is not None:
        print(f"the first bad row is {first.line.get('source')}: {first.line.get('error')}", file=sys.stderr)
        print("mend bad rows and label them into another --out, or all of it again with --restart", file=sys.stderr)
    if outcome.bad and not outcome.labelled:
        raise typer.Exit(1)


def _summary(outcome: Outcome, counts: dict[str, Any]) -> str:
    places, done = outcome.places, outcome.labelled + outcome.bad
    parts = [f"{outcome.labelled} of {done} rows labelled"]
    if outcome.bad:
        parts.append(f"{outcome.bad} bad ({places.bad})")
    if outcome.cut:
        parts.append(f"{outcome.cut} answers cut at --max-new-tokens")
    if left := counts["rows"] - done:
        parts.append(f"{left} left")
    now = counts["asked_now"]
    rate = f"{now / max(counts['seconds'], 0.1):.1f} rows/s" if now else "all were done already, nothing to do"
    return f"{places.out}: {', '.join(parts)}; {rate}"
