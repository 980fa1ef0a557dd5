"""Questions to show with their pictures, and which of many answers are worth showing.

It knows questions and answers; how a page or a terminal shows them is theirs to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from sightline.evaluation.results import Answer
from sightline.evaluation.tasks import Question, Tasks

__all__ = ["PICTURE_SIDE", "Example", "example", "examples"]

PICTURE_SIDE = 256  # pixels; a phone's width holds one such picture


@dataclass(frozen=True)
class Example:
    """A question with its pictures, the truth and an answer; `before` is what an earlier model said, and `sure` the
    probability that the model gave to its answer."""

    pictures: Sequence[Image.Image]
    question: str
    truth: str
    answer: str
    right: float = 0.0
    kind: str = ""
    language: str = ""
    earlier: Sequence[tuple[str, str]] = ()  # role and text of the turns before the question
    before: str | None = None
    sure: float | None = None

    @property
    def outcome(self) -> str:
        """right, wrong, or partly where a metric grades."""
        return "right" if self.right == 1 else "wrong" if self.right == 0 else "partly"


def example(question: Question, answer: Answer, before: str | None = None) -> Example:
    """`question` with what was answered. Its pictures are small: a page of photographs would not fit into memory."""
    return Example(
        [_small(picture) for picture in question.pictures],
        question.text,
        answer.truth,
        answer.answer,
        answer.right,
        answer.kind,
        answer.language,
        question.earlier,
        before,
        answer.sure,
    )


def _small(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    return small


def examples(tasks: Tasks, answers: Sequence[Answer], most: int = 400) -> list[Example]:
    """Mistakes and right answers of every kind and language, three to one where there are so many: about `most`.

    In the order of the kinds and languages; of each the first ones, mistakes before right answers.
    """
    cells: dict[tuple[str, str], tuple[list[Answer], list[Answer]]] = {}
    for one in answers:
        wrong, good = cells.setdefault((one.kind, one.language), ([], []))
        (good if one.right == 1 else wrong).append(one)
    share = max(4, most // max(1, len(cells)))
    right = share // 4
    chosen = [one for wrong, good in cells.values() for one in (*wrong[: share - right], *good[:right])]
    return [example(tasks.question(one.key), one) for one in chosen]
