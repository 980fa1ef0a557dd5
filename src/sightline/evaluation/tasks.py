"""What is asked: questions of the built-in world or of a user's own file, by key, with what makes an answer right.

A `Question` has its pictures and everything needed to score an answer; it is made when it is asked for, and made
again for the page. This file knows no model and no answers.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from sightline.data.conversation import ChatRow
from sightline.data.readers import Data, open_data
from sightline.data.readers.sides import Share, open_sides
from sightline.data.sample import Sample
from sightline.data.scenes import KINDS, World
from sightline.data.scenes.atlas import check_name
from sightline.data.scenes.edition import edition
from sightline.data.scenes.language import LANGUAGES
from sightline.evaluation.metrics import METRICS, chosen, score
from sightline.images import load_rgb

__all__ = [
    "Key",
    "PassedOver",
    "Question",
    "Tasks",
    "file_tasks",
    "first_rows",
    "key_of",
    "question_of",
    "scene_tasks",
]


class Key(NamedTuple):
    """A question's name: the `number`th of its kind and language (of a file: its row), from 0."""

    kind: str
    language: str
    number: int


@dataclass(frozen=True)
class Question:
    """One question. `messages` end with the user's turn that is answered; their image parts hold the pictures, or
    where those are: a window of questions about a user's photographs would not fit into memory.
    """

    key: Key
    messages: list[dict[str, Any]]
    truths: Sequence[str]
    metric: str = "exact"
    choices: Sequence[str] = ()
    where: str = ""

    @property
    def text(self) -> str:
        """The text of the turn that is answered."""
        return _text_of(self.messages[-1])

    @property
    def earlier(self) -> list[tuple[str, str]]:
        """Role and text of the turns before it."""
        return [(message["role"], _text_of(message)) for message in self.messages[:-1]]

    @property
    def shown(self) -> str:
        """A digest of its pictures, where they are files or bytes that other questions may show, too.

        Raises:
            OSError: a file cannot be read.
        """
        sources = [part["image"] for one in self.messages for part in one["content"] if part["type"] == "image"]
        if not sources or not all(isinstance(source, str | bytes) for source in sources):
            return ""
        return hashlib.sha256(b"".join(map(_digest, sources))).hexdigest()

    def opened(self) -> list[dict[str, Any]]:
        """The messages with their pictures opened.

        Raises:
            FileNotFoundError, ValueError: as `open_image`, naming the question.
        """
        return _with_images(self.messages, lambda source: load_rgb(source, self.where))

    @property
    def pictures(self) -> list[Image.Image]:
        """All pictures of the conversation, in order; raises as `opened`."""
        return [part["image"] for message in self.opened() for part in message["content"] if part["type"] == "image"]

    def score(self, answer: str) -> float:
        """Between 0 (wrong) and 1 (right)."""
        return score(self.metric, answer, self.truths, self.choices)


class PassedOver(NamedTuple):
    """How many rows ask nothing that can be scored, and what is said of the first."""

    rows: int = 0
    first: str = ""

    def and_also(self, error: Exception) -> PassedOver:
        """With one row more, of which `error` tells."""
        return PassedOver(self.rows + 1, self.first or str(error))

    def __str__(self) -> str:
        return f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}; the first: {self.first}"


@dataclass(frozen=True)
class Tasks:
    """The questions to ask, in order; `question` makes one, in any process. `settings` say, as JSON, which they are.

    `passed_over` are the rows that were drawn and cannot be asked.
    """

    keys: Sequence[Key]
    question: Callable[[Key], Question]
    settings: dict[str, Any]
    passed_over: PassedOver = field(default_factory=PassedOver)


def scene_tasks(world: World, kinds: Sequence[str], languages: Sequence[str], per_kind: int) -> Tasks:
    """`per_kind` questions of each kind and language, numbers 0 to per_kind - 1 of `world`; exact match.

    Raises:
        ValueError: a kind or language does not exist, or the world's axis does not ask the kind.
    """
    for kind in kinds:
        if check_name("kind", kind, KINDS) not in world.kinds:
            raise ValueError(f"the axis {world.axis!r} does not ask {kind!r}, only: {', '.join(world.kinds)}")
    for language in languages:
        check_name("language", language, LANGUAGES)
    keys = [Key(*group, number) for group in itertools.product(kinds, languages) for number in range(per_kind)]
    settings = {"world": edition(), "kinds": list(kinds), "languages": list(languages), "per_kind": per_kind}
    return Tasks(keys, partial(_scene_question, world), settings)


def file_tasks(
    path: str | Path,
    metric: str | None = None,
    image_folder: str | Path | None = None,
    per_kind: int | None = None,
    held_out: Share | None = None,
    **reading: Any,
) -> Tasks:
    """The rows of a file or folder of any format, each a question; at most the first `per_kind` of each kind.

    The last assistant message is the truth, unless the row has `answers`. A row may also have `kind` (else the
    file's name), `language`, `choices`, and a `metric` of its own: else it is `metric`, else multiple choice
    where it has choices and exact match where not.

    Args:
        held_out: only the rows that training keeps out at this share, or at its "auto"; as there, those that ask
            nothing are passed over and counted.
        reading: how the rows are understood, as for `open_data`.

    Raises:
        FileNotFoundError, ValueError: as `open_data` or `open_sides`, and for a row that ends without a truth, has an
            unknown metric, or a truth that is none of its choices; or nothing is held out. All rows are checked before
            the first is asked.
    """
    rows, split = _rows_of(path, held_out, {**reading, "image_folder": image_folder})
    groups: dict[tuple[str, str], list[Key]] = {}
    passed_over = PassedOver()
    for number, row in enumerate(rows):
        key = key_of(rows, number, row)
        try:
            question_of(row, key, metric)
        except ValueError as error:
            if held_out is None:
                raise
            passed_over = passed_over.and_also(error)  # as training does: it may teach although it asks nothing
            continue
        groups.setdefault((key.kind, key.language), []).append(key)
    if not groups and passed_over.rows:
        raise ValueError(f"none of the held-out rows asks anything: {passed_over}")
    keys = [key for group in groups.values() for key in group[:per_kind]]
    settings = {
        "file": str(Path(path)),
        "sha256": rows.fingerprint(),
        "image_folder": str(rows.folder),
        "metric": metric,
        "per_kind": per_kind,
        "split": split,
        **{name: value for name, value in reading.items() if value is not None},
    }
    return Tasks(keys, partial(_file_question, rows, metric), settings, passed_over)


def _rows_of(path: str | Path, held_out: Share | None, reading: dict[str, Any]) -> tuple[Data, str | None]:
    """The rows, all or those that are held out, and how these were told apart."""
    if held_out is None:
        return open_data(path, **reading), None
    sides = open_sides(path, held_out, **reading)
    if sides.held_out is None:
        raise ValueError(f"{sides}: there is nothing to ask, so leave held-out out, or give a share")
    return sides.held_out, str(sides)


def first_rows(rows: Data, count: int, metric: str | None = None) -> Tasks:
    """Those of the first `count` rows that `file_tasks` could ask, in order: for a look, not for a measurement.

    Raises:
        FileNotFoundError, ValueError: a row cannot be read.
    """
    held = {}  # for of a stream none can be read again
    for number, row in enumerate(itertools.islice(rows, count)):
        key = key_of(rows, number, row)
        try:
            question_of(row, key, metric)
        except ValueError:
            continue  # it may teach although it asks nothing
        held[key] = row
    return Tasks(list(held), partial(_held_question, held, metric), {"file": rows.path, "first_rows": count})


def _scene_question(world: World, key: Key) -> Question:
    sample, truth = world.question(key.number, key.kind, key.language)
    return _ask_last(sample, key, [truth], where=f"{key.kind}/{key.language} {key.number}")


def key_of(rows: Data, number: int, row: ChatRow) -> Key:
    kind = row.fields.get("kind")
    return Key(str(rows.name if kind in (None, "") else kind), str(row.fields.get("language", "")), number)


def _file_question(rows: Data, metric: str | None, key: Key) -> Question:
    return question_of(rows[key.number], key, metric)


def _held_question(rows: dict[Key, ChatRow], metric: str | None, key: Key) -> Question:
    return question_of(rows[key], key, metric)


def _ask_last(sample: Sample, key: Key, truths: Sequence[str], **how: Any) -> Question:
    """The question of a sample's last user turn: what the assistant says to it is left out."""
    messages = sample["messages"][:-1] if sample["messages"][-1]["role"] == "assistant" else sample["messages"]
    left = iter(sample["images"])
    return Question(key, _with_images(messages, lambda _: next(left)), truths, **how)


def _with_images(messages: Sequence[dict[str, Any]], picture: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """The messages, each image part holding `picture` of what it held before."""

    def filled(part: dict[str, Any]) -> dict[str, Any]:
        return {**part, "image": picture(part.get("image"))} if part["type"] == "image" else part

    return [{**message, "content": [filled(part) for part in message["content"]]} for message in messages]


def question_of(row: ChatRow, key: Key, metric: str | None) -> Question:
    """The question of a row."""
    truths, choices = row.fields.get("answers"), row.fields.get("choices", [])
    if truths is None and row.messages[-1]["role"] == "assistant":
        truths = [_text_of(row.messages[-1])]
    if truths is not None and not _are_texts(truths):
        raise ValueError(f"{row.where}: 'answers' is a list of texts, but is {truths!r}: put each in quotes, in a list")
    if not truths:
        raise ValueError(f"{row.where} has no truth: end it with the assistant's message, or give a list of 'answers'")
    if not _are_texts(choices):
        raise ValueError(f"{row.where}: 'choices' is a list of texts, but is {choices!r}")
    how = row.fields.get("metric") or metric or ("choice" if choices else "exact")
    if how not in (*METRICS, "choice"):
        raise ValueError(f"{row.where}: there is no metric {how!r}; there is {', '.join(METRICS)}, choice")
    if how == "choice" and (not choices or any(chosen(truth, choices) is None for truth in truths)):
        raise ValueError(f"{row.where}: multiple choice needs 'choices' that hold the truth {', '.join(truths)!r}")
    sample: Sample = {"messages": row.messages, "images": row.images}
    question = _ask_last(sample, key, truths, metric=how, choices=choices, where=row.where)
    if question.messages == [] or question.messages[-1]["role"] != "user":
        raise ValueError(f"{row.where} asks nothing: the message to be answered is the user's")
    return question


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _text_of(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


def _digest(picture: str | bytes) -> bytes:
    if isinstance(picture, str) and picture[:5].lower() != "data:":
        with open(picture, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    return hashlib.sha256(picture if isinstance(picture, bytes) else picture.encode()).digest()
