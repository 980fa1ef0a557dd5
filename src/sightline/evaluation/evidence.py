"""Answers of the built-in world by kind and by topic, whole and by their results alone: `judged`, `judged_by_topic`.

It knows what the world's kinds are about and what their answers come to. A file's kinds may be called as the world's,
so its answers are not for here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sightline.data.scenes.results import RESULT_MARKS, result_of
from sightline.evaluation.metrics import exact
from sightline.evaluation.results import Answer, Results
from sightline.evaluation.topics import TOPICS

__all__ = ["Judged", "judged", "judged_by_topic"]


@dataclass(frozen=True)
class Judged:
    """Whole answers, and those of kinds that write out evidence by their results `alone`.

    A right number behind a list with a wrong name is right alone, and wrong as a whole.
    """

    whole: Results = field(default_factory=Results)
    alone: Results = field(default_factory=Results)


def judged(answers: Sequence[Answer]) -> Judged:
    """By kind."""
    return Judged(Results(answers), Results(_by_result(one) for one in answers if one.kind in RESULT_MARKS))


def judged_by_topic(answers: Sequence[Answer]) -> Judged:
    """By topic, of those topics of which several kinds were asked; kinds without evidence count whole in `alone`."""
    asked = {one.kind for one in answers}
    topics = {topic: kinds for topic, kinds in TOPICS.items() if len(asked.intersection(kinds)) > 1}
    told = {topic: kinds for topic, kinds in topics.items() if asked.intersection(kinds).intersection(RESULT_MARKS)}
    by_result = [_by_result(one) for one in answers]
    return Judged(Results(_called_by_topic(answers, topics)), Results(_called_by_topic(by_result, told)))


def _called_by_topic(answers: Iterable[Answer], topics: Mapping[str, Collection[str]]) -> list[Answer]:
    return [replace(one, kind=topic) for topic, kinds in topics.items() for one in answers if one.kind in kinds]


def _by_result(answer: Answer) -> Answer:
    """Scored by its result; one without evidence is its own."""
    said, true = (result_of(answer.kind, text) for text in (answer.answer, answer.truth))
    return replace(answer, right=exact(said, true))
