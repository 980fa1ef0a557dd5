"""What a training run leaves behind: `report.html`, a page with figures, pictures, curves and recipe, and the figures
again as `report.json`.

It knows a run's log, recipe and verdict; how a page is drawn is `evaluation.page`'s business, and nothing is measured
here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median_high
from typing import Any

import yaml

from sightline.data.readers.sides import Sides
from sightline.evaluation.answer_file import write_json
from sightline.evaluation.confusion import SHORT
from sightline.evaluation.environment import environment
from sightline.evaluation.judgement import Judgement
from sightline.evaluation.page import Accuracy, Comparison, Curves, Facts, Gallery, Listing, Mistaken, render_report
from sightline.evaluation.page import Section as PageSection
from sightline.training.judging import Verdict
from sightline.training.stopping import Stopping

__all__ = ["write_report"]

# What of a record is drawn, under which name, and whether on a logarithmic scale.
CURVES = {
    "loss": ("loss", True),
    "held_out_loss": ("loss on held-out rows", True),
    "accuracy": ("accuracy of the looks", False),
    "lr": ("learning rate", False),
    "grad_norm": ("gradient norm", True),
}
HOW_TO_READ = (
    "Majority answer: each question's most frequent answer among the rows that were learned from, without looking.",
    "Without picture: the tuned model is asked the same words and shown nothing. What it still knows, it could have "
    "guessed; rows without a picture are not asked. With their pictures it is right in {seeing} of these questions.",
)
NEAR = "{:,} of the pictures held out look like one that was learned from, which flatters the tuned model."
CHOSEN = "The checkpoint was chosen by rows that stand here too, which flatters the tuned model a little."
WORLD = (
    "The same questions about the built-in world, before and after. More of it stays where it is mixed in: see "
    "data.world.weight in the recipe.",
)
RIGHT = {
    "exact": "it is the truth in the same words",
    "contains": "it holds the truth",
    "anls": "it is spelled like the truth: the more alike, the more of a right answer it counts (ANLS)",
    "choice": "it names the right choice",
}
LONG = (
    "Half of the truths or more have over {long} characters, and exact match takes no other words for them: "
    "data.files.0.metric=anls grades what is spelled nearly like the truth."
)
SURE = "Wrong answers, those first to which the model gave the highest probability."


def write_report(
    out: Path,
    *,
    recipe_yaml: str,
    records: Sequence[Mapping[str, Any]],
    verdict: Verdict | None = None,
    sides: Sequence[Sides] = (),
    stoppings: Mapping[str, Stopping] | None = None,
    facts: Mapping[str, object] | None = None,
) -> Path:
    """Write `out/report.html` and `out/report.json`; the path of the page.

    Args:
        recipe_yaml: the recipe as it ran; every `seed` in it is listed.
        records: the log's records: `step`, `stage`, `seconds`, and of `CURVES` what each has.
        verdict: what the final model was asked.
        sides: how each file was divided.
        stoppings: by stage, what early stopping has chosen.
        facts: what else should be told, before versions and machine.
    """
    verdict, stoppings = verdict or Verdict(), stoppings or {}
    sections = [
        *_judged(verdict, sides, bool(stoppings)),
        *_run_facts(sides, stoppings, verdict, records),
        *_shown(verdict),
        *_about(recipe_yaml, records, facts or {}),
    ]
    page = render_report(
        out / "report.html", title=f"Training report: {out.name}", sections=sections, summary=_summary(verdict)
    )
    write_json(out / "report.json", _as_json(out.name, verdict, sides, stoppings, records))
    return page


def _summary(verdict: Verdict) -> str:
    if verdict.judgement is not None:
        return verdict.judgement.summary()
    return verdict.results.summary() if verdict.results is not None and verdict.results.shares else ""


def _judged(verdict: Verdict, sides: Sequence[Sides], was_chosen: bool) -> Iterator[PageSection]:
    """The figures: beside what must be beaten, or alone."""
    judgement, results = verdict.judgement, verdict.results
    if judgement is not None:
        yield Comparison(
            "Right answers on held-out rows", judgement.columns, _notes(verdict, judgement, sides, was_chosen)
        )
    elif results is not None and results.shares:
        yield Accuracy(f"Accuracy {results.about}".strip(), results)
    if verdict.world is not None:
        columns = {"before": verdict.world.before, "after": verdict.world.after}
        yield Comparison("What was forgotten of the built-in world", columns, [f"{verdict.world}.", *WORLD])


def _notes(verdict: Verdict, judgement: Judgement, sides: Sequence[Sides], was_chosen: bool) -> list[str]:
    notes = [*_metrics(verdict, judgement), HOW_TO_READ[0]]
    if judgement.blind:
        notes.append(HOW_TO_READ[1].format(seeing=f"{judgement.seeing.share()} %"))
    if near := sum(one.near_copies or 0 for one in sides):
        notes.append(NEAR.format(near))
    return [*notes, CHOSEN] if was_chosen else notes


def _metrics(verdict: Verdict, judgement: Judgement) -> Iterator[str]:
    """When an answer is right."""
    several = len(verdict.metrics) > 1
    for metric, count in verdict.metrics.items():
        yield f"{f'{count:,} answers: an' if several else 'An'} answer is right where {RIGHT[metric]} ({metric})."
    if verdict.metrics.get("exact") and median_high(len(one.truth) for one in judgement.tuned) > SHORT:
        yield LONG.format(long=SHORT)


def _run_facts(
    sides: Sequence[Sides], stoppings: Mapping[str, Stopping], verdict: Verdict, records: Sequence[Mapping[str, Any]]
) -> Iterator[PageSection]:
    """The split, the stop and the time."""
    if not sides:
        return
    facts: dict[str, object] = {f"data {number}": one for number, one in enumerate(sides, start=1)}
    if len(sides) == 1:
        facts = {"data": sides[0]}
    for name, passed_over in (
        ("held-out rows not asked", verdict.passed_over),
        ("training rows not counted for the majority answer", verdict.not_counted),
    ):
        facts |= {name: passed_over} if passed_over.rows else {}
    facts |= {f"early stopping, {name}": stopping for name, stopping in stoppings.items()}
    if verdict.first_loss is not None:
        facts["held-out loss before"] = f"{verdict.first_loss:.4f}"
    yield Facts("Split, stop and time", {**facts, **_totals(records)})


def _shown(verdict: Verdict) -> Iterator[PageSection]:
    if verdict.judgement is not None and (table := verdict.judgement.confusion) is not None:
        yield Mistaken("Short answers: what is taken for what", table, ["Rows are truths, columns answers."])
    if verdict.worst:
        yield Gallery("The worst mistakes", verdict.worst, [SURE])
    if verdict.examples:
        yield Gallery("Answers", verdict.examples)


def _about(
    recipe_yaml: str, records: Sequence[Mapping[str, Any]], facts: Mapping[str, object]
) -> Iterator[PageSection]:
    """Curves, recipe and machine."""
    if curves := _curves(records):
        logarithmic = [name for name, is_logarithmic in CURVES.values() if is_logarithmic]
        yield Curves("Curves", curves, _stage_marks(records), logarithmic)
    yield Listing("Recipe", recipe_yaml)
    seeds = dict(_seeds(yaml.safe_load(recipe_yaml)))
    yield Facts("Seeds, versions and machine", {**_totals(records), **facts, **seeds, **environment()})


def _as_json(
    name: str,
    verdict: Verdict,
    sides: Sequence[Sides],
    stoppings: Mapping[str, Stopping],
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    results = verdict.results
    return {
        "name": name,
        "split": [one.as_dict() for one in sides],
        "steps": records[-1]["step"] if records else 0,
        "seconds_in_steps": round(_sum(records, "seconds"), 1),
        "seconds_in_looks": round(_sum(records, "look_seconds"), 1),
        "early_stopping": {stage: stopping.as_dict() for stage, stopping in stoppings.items()},
        "held_out_loss_before": verdict.first_loss,
        "metrics": dict(verdict.metrics),
        "held_out_not_asked": verdict.passed_over._asdict(),
        "not_in_majority": verdict.not_counted._asdict(),
        "held_out": verdict.judgement and verdict.judgement.as_dict(),
        "built_in_world": verdict.world and verdict.world.as_dict(),
        "accuracy": results.as_dict() | {"about": results.about} if results is not None and results.shares else None,
        "environment": environment(),
    }


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    drawn = {
        name: [(record["step"], record[key]) for record in records if isinstance(record.get(key), (int, float))]
        for key, (name, _) in CURVES.items()
    }
    return {name: points for name, points in drawn.items() if points}


def _stage_marks(records: Sequence[Mapping[str, Any]]) -> list[tuple[float, str]]:
    """Where each stage begins."""
    first: dict[str, float] = {}
    for record in records:
        if record.get("stage"):
            first.setdefault(str(record["stage"]), record["step"])
    return [(step, stage) for stage, step in first.items()]


def _totals(records: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    if not records:
        return {}
    totals: dict[str, object] = {"steps": f"{records[-1]['step']:,}", "time in steps": _time(_sum(records, "seconds"))}
    if looks := _sum(records, "look_seconds"):
        totals["time in looks"] = _time(looks)
    if skipped := sum(record.get("skipped", False) for record in records):
        totals["steps skipped as spikes"] = f"{skipped:,}"
    return totals


def _sum(records: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(record.get(key, 0.0) for record in records)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _seeds(section: Any, place: str = "") -> Iterator[tuple[str, object]]:
    """Every `seed` of the recipe, by its dotted place."""
    if isinstance(section, dict):
        for key, value in section.items():
            if key == "seed":
                yield f"{place}{key}", value
            else:
                yield from _seeds(value, f"{place}{key}.")
    elif isinstance(section, list):
        for number, value in enumerate(section):
            yield from _seeds(value, f"{place}{number}.")
