"""What a run has come to, asked of its final model: `judge`. How it is told is the report's business."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sightline.evaluation.baselines import Majority, answers_learned_from, without_pictures
from sightline.evaluation.examples import Example, example
from sightline.evaluation.judgement import Change, Judgement, change
from sightline.evaluation.results import Answer, Results
from sightline.evaluation.tasks import PassedOver, Question
from sightline.training.looks import EXAMPLES, FIT, First, Looks

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True)
class Verdict:
    """The final model's accuracy (`results`), beside what it must beat (`judgement`); what became of the `world`.

    A run without rows that are held out has no judgement, one that does not ask the world no change. `metrics` say how
    many answers were scored by which; `passed_over` are held-out rows that cannot be scored, and `not_counted` rows of
    the training side that the majority answer does not know.
    """

    results: Results | None = None
    judgement: Judgement | None = None
    world: Change | None = None
    examples: Sequence[Example] = ()
    worst: Sequence[Example] = ()
    first_loss: float | None = None
    metrics: Mapping[str, int] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver)
    not_counted: PassedOver = field(default_factory=PassedOver)


def judge(looks: Looks) -> Verdict:
    """Ask the final model all that `looks` has asked the first one, and itself without the pictures.

    Raises:
        FileNotFoundError, ValueError: a row or picture cannot be read any more.
    """
    if looks.asked_rows is None:
        return Verdict(
            results=looks.results,
            world=_change(looks, looks.first()),
            examples=looks.examples(),
            passed_over=looks.passed_over,
        )
    first, asked = looks.first(), looks.ask(looks.asked_rows)
    answers = [answer for _, answer in asked]
    learned, not_counted = _learned(looks)
    judgement = _judgement(looks, first, answers, learned) if looks.held_out else None
    return Verdict(
        results=Results(answers, "" if looks.held_out else FIT),
        judgement=judgement,
        world=_change(looks, first),
        examples=looks.examples(asked[:EXAMPLES]),
        worst=_shown(asked, judgement, first) if judgement else (),
        first_loss=first.loss,
        metrics=Counter(question.metric for question, _ in asked),
        passed_over=looks.passed_over,
        not_counted=not_counted,
    )


def _learned(looks: Looks) -> tuple[list[tuple[str, str]], PassedOver]:
    return answers_learned_from([sides.train for sides in looks.sides]) if looks.held_out else ([], PassedOver())


def _judgement(looks: Looks, first: First, answers: Sequence[Answer], learned: list[tuple[str, str]]) -> Judgement:
    assert looks.held_out is not None
    tasks, blind = looks.held_out, without_pictures(looks.held_out)
    blindly = [answer for _, answer in looks.ask(blind)] if blind.keys else []
    shown = {answer.key: answer.shown for answer in answers}
    before = [one for one in first.rows if one.key in shown]
    return Judgement(
        tuned=answers,
        # A run that is resumed with another `eval_rows` has no earlier answers to some of these.
        before=before if len(before) == len(shown) else [],
        majority=Majority(learned).answers(tasks.question(key) for key in tasks.keys),
        # Questions about one picture are no more independent where it is not shown.
        blind=[replace(answer, shown=shown[answer.key]) for answer in blindly],
    )


def _change(looks: Looks, first: First) -> Change | None:
    if not looks.forgets:
        return None
    return change(first.world, [answer for _, answer in looks.ask(looks.world_tasks())])


def _shown(asked: Sequence[tuple[Question, Answer]], judgement: Judgement, first: First) -> list[Example]:
    questions = {answer.key: question for question, answer in asked}
    before = {one.key: one.answer for one in first.rows}
    return [example(questions[one.key], one, before.get(one.key)) for one in judgement.worst()]
