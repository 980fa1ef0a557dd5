"""Answers of the built-in world by their results alone, whatever evidence they write out first: `results_alone`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sightline.data.scenes.results import RESULT_MARKS, result_of
from sightline.evaluation.metrics import exact
from sightline.evaluation.results import Answer, Results

__all__ = ["results_alone"]


def results_alone(answers: Iterable[Answer]) -> Results:
    """Of the kinds whose answers write out evidence: a right number behind a list with a wrong name counts here."""
    return Results(replace(one, right=_by_result(one)) for one in answers if one.kind in RESULT_MARKS)


def _by_result(answer: Answer) -> float:
    return exact(result_of(answer.kind, answer.answer), result_of(answer.kind, answer.truth))
