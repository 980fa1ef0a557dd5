"""What a user's data is made of: answers, questions, lengths, pictures, and what could be guessed. `gather`.

It judges nothing: what is wrong with rows is `check`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sightline.data.conversation import ChatRow
from sightline.data.encoder import Encoder, size_of
from sightline.data.numbers import Numbers
from sightline.data.pictures import size_of_picture
from sightline.data.readers import Data
from sightline.data.readers.divided import Divided
from sightline.data.sample import answers_of, questions_of, sample_of
from sightline.data.tops import Tops

__all__ = ["Statistics", "gather"]

NUMBERS = ("tokens a row", "tokens an answer", "questions a row", "pictures a row", "picture width", "picture height")


@dataclass
class Statistics:
    """Figures of some data. Tokens are those of `encoder`; sizes in pixels, of pictures as often as they are shown."""

    path: str
    format: str
    rows: int = 0
    unread: int = 0  # rows, or pictures of theirs, that could not be read
    answers: Tops[str] = field(default_factory=Tops)
    questions: Tops[str] = field(default_factory=Tops)
    pairs: Tops[tuple[str, str]] = field(default_factory=Tops)
    numbers: Mapping[str, Numbers] = field(default_factory=lambda: {name: Numbers() for name in NUMBERS})

    def add(self, row: ChatRow, encoder: Encoder) -> None:
        sample = sample_of(row)
        size = size_of(sample, encoder)
        self.numbers["tokens a row"].add(size.tokens)
        self.numbers["tokens an answer"].add(*size.answers)
        self.numbers["questions a row"].add(len(questions_of(sample)))
        self.numbers["pictures a row"].add(size.images)
        for picture in row.images:
            width, height = size_of_picture(picture)
            self.numbers["picture width"].add(width)
            self.numbers["picture height"].add(height)
        for question, answer in zip(questions_of(sample), answers_of(sample), strict=False):
            self.questions.add(question)
            self.answers.add(answer)
            self.pairs.add((question, answer))

    def guessed(self) -> float | None:
        """The share of answers that somebody gets right who sees no picture, and gives each question the answer that it
        has most often, or where it has none twice, the most frequent of all; None where there are too many to count.
        """
        if not self.pairs.exact or not self.pairs.counts:
            return None
        usual = self.answers.first(1)[0][0]
        best: dict[str, int] = {}
        for (question, answer), count in self.pairs.counts.items():
            # What came once says nothing about another time.
            best[question] = max(count if count > 1 else int(answer == usual), best.get(question, 0))
        return sum(best.values()) / self.pairs.counts.total()

    def as_dict(self, most: int = 50) -> dict[str, Any]:
        """The figures as JSON can carry them, with the `most` frequent answers and questions."""
        return {
            "path": self.path,
            "format": self.format,
            "rows": self.rows,
            "unread": self.unread,
            "guessed": self.guessed(),
            "numbers": {name: numbers.as_dict() for name, numbers in self.numbers.items()},
            "different_answers": len(self.answers.counts),
            "different_answers_are_all": self.answers.exact,
            "answers": dict(self.answers.first(most)),
            "questions": dict(self.questions.first(most)),
        }


def gather(data: Data | Divided, encoder: Encoder, on_row: Callable[[int], None] = lambda unread: None) -> Statistics:
    """Read every row of `data` once; of pictures only how large they are.

    Args:
        on_row: hears after each row how many could not be read so far.

    Raises:
        ValueError: a container is damaged, so that the rest of it cannot be read.
    """
    found = Statistics(data.path, data.format)
    for _, row in data.attempts():
        found.rows += 1
        try:
            if isinstance(row, Exception):
                raise row
            found.add(row, encoder)
        except (ValueError, FileNotFoundError):
            found.unread += 1
        on_row(found.unread)
    return found
