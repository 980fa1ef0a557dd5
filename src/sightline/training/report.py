"""The page that a training run leaves behind: curves, accuracy, answers with pictures, recipe, versions and machine.

It knows a run's log and recipe; how a page is drawn is `evaluation.page`'s business, and nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from sightline.evaluation.environment import environment
from sightline.evaluation.examples import Example
from sightline.evaluation.page import Accuracy, Curves, Facts, Gallery, Listing, Section, render_report
from sightline.evaluation.results import Results

__all__ = ["write_report"]

# What of a record is drawn, under which name, and whether on a logarithmic scale.
CURVES = {
    "loss": ("loss", True),
    "accuracy": ("accuracy of the probes", False),
    "lr": ("learning rate", False),
    "grad_norm": ("gradient norm", True),
}


def write_report(
    out: Path,
    *,
    recipe_yaml: str,
    records: Sequence[Mapping[str, Any]],
    results: Results | None = None,
    answers: Sequence[Example] = (),
    facts: Mapping[str, object] | None = None,
) -> Path:
    """Write `out/report.html` and return its path.

    Args:
        recipe_yaml: the recipe as it ran; every `seed` in it is listed.
        records: the log's records: `step`, `stage`, `seconds`, and of `CURVES` what each has.
        results: the accuracy by kind; `answers` are examples of it, with the answers of before where known.
        facts: what else should be told, before versions and machine.
    """
    sections: list[Section] = []
    if results is not None and results.shares:
        sections.append(Accuracy(f"Accuracy {results.about}".strip(), results))
    if curves := _curves(records):
        logarithmic = [name for name, is_logarithmic in CURVES.values() if is_logarithmic]
        sections.append(Curves("Curves", curves, _stage_marks(records), logarithmic))
    if answers:
        sections.append(Gallery("Answers", answers))
    sections.append(Listing("Recipe", recipe_yaml))
    seeds = dict(_seeds(yaml.safe_load(recipe_yaml)))
    sections.append(
        Facts("Seeds, versions and machine", {**_totals(records), **(facts or {}), **seeds, **environment()})
    )
    summary = results.summary() if results is not None and results.shares else ""
    return render_report(out / "report.html", title=f"Training report: {out.name}", sections=sections, summary=summary)


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
    seconds = round(sum(record.get("seconds", 0.0) for record in records))
    return {"steps": f"{records[-1]['step']:,}", "time in steps": str(timedelta(seconds=seconds))}


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
