"""What a row of which format says: `Reading.row` makes a conversation of a row's fields.

Rows that hold turns are `conversation.py`'s to read. This file knows the others: the_cauldron's pairs of texts, TRL's
prompts with their completions, and tables with a picture, a question and an answer in columns, of which the question
may be the same for all rows.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sightline.data.conversation import BESIDE, ChatRow, Message, RowError, picture_of, read_messages
from sightline.data.readers.items import PICTURES

__all__ = ["DESCRIBE", "FORMATS", "NAME_IT", "Format", "Reading", "Table", "refuse_picture"]

Format = Literal["chat", "llava", "minimind-v", "cauldron", "table", "classes"]
# What holds the words of a row, by format; a table has columns instead.
FORMATS: dict[Format, str | None] = {
    "chat": "messages",
    "llava": "conversations",
    "minimind-v": "conversations",
    "cauldron": "texts",
    "table": None,
    "classes": None,
}
DESCRIBE, NAME_IT = "Describe the picture.", "What is this?"  # asked of a caption, and of a class

IMAGES = ("image", "images", "file_name", "image_path", "image_file", "image_bytes", "img")
IMAGES_TOO = ("filename", "file", "path")  # beside a picture's bytes, the name of it
QUESTIONS = ("question", "prompt", "instruction", "query")
INPUT = "input"  # what an instruction is about, as in Alpaca's rows
ANSWERS = ("answer", "answers", "response", "output", "target", "completion")
CAPTIONS = ("caption", "text", "txt", "description")
LABELS = ("label", "class", "category")
TEXTS = {"answers", "choices"}  # lists of texts
_EXACT = 2**53  # below it a float tells each whole number from the next


@dataclass(frozen=True)
class Table:
    """The columns of a row: where its picture is (if it may have one), its question (else `asked`) and its answer."""

    image: str | None
    question: str | None
    answer: str
    asked: str = ""


@dataclass(frozen=True)
class Reading:
    """How rows are to be understood.

    Args:
        format: one of `FORMATS`; None: each row by its fields.
        image_column: what holds the pictures; None: by its usual names.
        question_column, answer_column: of a table; None: by their usual names.
        prompt: the question of rows that have none.
    """

    format: Format | None = None
    image_column: str | None = None
    question_column: str | None = None
    answer_column: str | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"there is no format {self.format!r}; there is {', '.join(FORMATS)}")
        given = [name for name in ("question_column", "answer_column") if getattr(self, name)]
        if given and self.format is not None and FORMATS[self.format] is not None:
            raise ValueError(f"{given[0]} says nothing about rows of the format {self.format!r}, which have no columns")
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("the prompt is empty")

    def row(self, fields: dict[str, Any], where: str, folder: Path) -> ChatRow:
        """The row as a conversation; pictures given as paths are relative to `folder`.

        Raises:
            RowError: the row is of no known format, or not of `format`, or lacks something of it.
            MissingPicture: there is no file where a picture should be.
        """
        gaps = [name for name, value in fields.items() if value is None]
        fields = {name: value for name, value in fields.items() if value is not None}
        words = self.words_of(fields, where)
        if words is None:
            fields |= dict.fromkeys(self._unanswered(fields, gaps), "")
            messages, sources, used = self._of_table(fields, where)
        else:
            messages, sources, used = self._of_turns(fields, words, where)
        images = [picture_of(source, where, folder) for source in sources]
        rest = {name: value for name, value in fields.items() if name not in used}
        # Evaluation and the samples of rows without an answer want these as texts, which no cell of a CSV holds.
        for name in TEXTS & rest.keys():
            given = rest.pop(name)
            if texts := _texts_of(_list_in(given) if words is None else given):
                rest[name] = texts
        if words is not None and not images and self.image_column is None:
            refuse_picture(rest, where)
        return ChatRow(messages, images, where, rest)

    def _unanswered(self, fields: dict[str, Any], gaps: Sequence[str]) -> list[str]:
        """Of the columns that a row leaves empty, those of its answer: it is missing, not its column."""
        if not any(map(_may_answer, fields)):
            return list(filter(_may_answer, gaps))
        is_asked = self.question_column in fields or any(name.lower() in QUESTIONS for name in fields)
        if not is_asked or any(name.lower() in ANSWERS for name in fields):
            return []
        # What answers a question is no label or caption that happens to stand beside it.
        return [name for name in gaps if name.lower() in ANSWERS]

    def words_of(self, fields: dict[str, Any], where: str) -> str | None:
        """The field that holds the row's turns: messages, conversations or texts; None where it is a table's row."""
        if self.format is not None:
            words = FORMATS[self.format]
            if words is not None and words not in fields and not (words == "messages" and _is_prompted(fields)):
                raise RowError(f"{where} is no row of the format {self.format}: it has no {words!r}, {_has(fields)}")
            return words
        if self.question_column or self.answer_column:
            return None
        found = next((name for name in ("messages", "conversations") if name in fields), None)
        if found is None and _is_prompted(fields):
            return "messages"
        return found or ("texts" if isinstance(fields.get("texts"), list) else None)

    def table(self, fields: dict[str, Any], where: str = "the row") -> Table:
        """The columns of a table's row.

        Raises:
            RowError: there is no answer, or no question; or several columns may be meant.
        """
        image, question = (
            self._image(fields, where),
            self.question_column or _one_of(QUESTIONS, fields, "question", where),
        )
        answer = self.answer_column or self._answer(fields, where, bool(question or self.prompt))
        if answer is None:
            raise RowError(
                f"{where} has no turns (messages, conversations, texts) and no answer, {_has(fields)}: name the "
                "answer column"
            )
        kind = answer.lower()
        asked = self.prompt or (DESCRIBE if kind in CAPTIONS else NAME_IT if kind in LABELS else "")
        if question is None and not asked:
            raise RowError(
                f"{where} has no question to its {answer!r}, {_has(fields)}: name the question column, or give "
                "one prompt for all rows"
            )
        return Table(image, question, answer, self.prompt or "" if question else asked)

    def _image(self, fields: dict[str, Any], where: str) -> str | None:
        image = self.image_column or next(
            filter(None, (_one_of(names, fields, "image", where) for names in (IMAGES, IMAGES_TOO))), None
        )
        if image is None:
            said = {self.question_column, self.answer_column}
            others = {
                name: value
                for name, value in fields.items()
                if not isinstance(value, str)
                or (name not in said and not _may_answer(name) and name.lower() not in QUESTIONS)
            }
            refuse_picture(others, where)
        return image

    def _answer(self, fields: dict[str, Any], where: str, has_question: bool) -> str | None:
        pools = (ANSWERS, LABELS, CAPTIONS) if has_question else ((*CAPTIONS, *LABELS), ANSWERS)
        return next(filter(None, (_one_of(names, fields, "answer", where) for names in pools)), None)

    def _of_turns(
        self, fields: dict[str, Any], words: str, where: str
    ) -> tuple[list[Message], list[Any], set[str | None]]:
        """Of a row with turns in the field `words`: messages, pictures, and the fields that these were in."""
        held: Sequence[str] = BESIDE if self.image_column is None else (self.image_column,)
        pictures = {name: fields[name] for name in held if name in fields}
        if self.image_column is not None:
            pictures = {"images": _pictures(fields.get(self.image_column))}
        if words == "texts":
            turns = {"messages": _pairs(fields["texts"], where)}
        elif words == "messages" and words not in fields:
            turns = {"messages": [*_said(fields["prompt"], "user"), *_said(fields["completion"], "assistant")]}
        else:
            turns = {words: fields[words]}
        messages, sources = read_messages({**turns, **pictures}, where)
        read = {"prompt", "completion"} if words == "messages" and words not in fields else {words}
        return messages, sources, {*read, *held, *(("messages", "conversations") if words != "texts" else ())}

    def _of_table(self, fields: dict[str, Any], where: str) -> tuple[list[Message], list[Any], set[str | None]]:
        table = self.table(fields, where)
        given = fields.get(table.answer)
        if isinstance(given, str) and table.answer in TEXTS and (listed := _listed(given)) is not None:
            given = listed or ""
        given = _chosen(given, fields.get("choices"))
        answer = _one_answer(given)
        # A column may be called "", as pandas calls that of its row numbers.
        asked = None if table.question is None else fields.get(table.question)
        own = _words(asked, where, "question")
        more = fields.get(INPUT) if (table.question or "").lower() == "instruction" else None
        if own and isinstance(more, str):
            own = f"{own}\n{more}".strip()
        question = own or table.asked
        sources = _pictures(None if table.image is None else fields.get(table.image))
        if not question:
            raise RowError(f"{where}: its question is empty", "empty question")
        if not sources and not own:
            raise RowError(
                f"{where} has neither a picture nor a question of its own, {_has(fields)}", "missing picture"
            )
        turns = [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for role, text in (("user", question), ("assistant", _words(answer, where, "answer")))
        ]
        messages, sources = read_messages({"messages": turns, "images": sources}, where)
        # Several right answers stay, for evaluation.
        used = {table.image, table.question, None if isinstance(given, list) else table.answer}
        return messages, sources, used if more is None else {*used, INPUT}


def _one_of(names: Sequence[str], fields: dict[str, Any], what: str, where: str) -> str | None:
    """The one of the fields that has one of the names, in any case; the first of several that say the same."""
    found = [name for name in names if name in fields]
    if not found:
        found = sorted((one for one in fields if one.lower() in names), key=lambda one: names.index(one.lower()))
    if found[:2] == ["answer", "answers"]:
        found.remove("answers")  # all that are right, for evaluation
    if any(fields[name] != fields[found[0]] for name in found[1:]):
        raise RowError(f"{where}: {' and '.join(found)} may each be its {what}: name the {what} column")
    return found[0] if found else None


def _may_answer(name: str) -> bool:
    return name.lower() in (*ANSWERS, *LABELS, *CAPTIONS)


def _chosen(given: Any, choices: Any) -> Any:
    """The choice that a whole number stands for, as in ScienceQA, counted from 0; anything else as it is."""
    texts = _listed(choices) if isinstance(choices, str) else choices
    written = isinstance(given, str) and given.isascii() and given.isdigit()  # as in a CSV file
    if not (written or type(given) is int) or not isinstance(texts, list):
        return given
    number = int(given)
    if not 0 <= number < len(texts) or str(given) in texts or not all(isinstance(text, str) for text in texts):
        return given
    return texts[number]


def _one_answer(given: Any) -> Any:
    """The first of several right answers; of VQAv2's, of one annotator each, the most frequent."""
    if not isinstance(given, list) or not given:
        return given
    return _texts_of(given)[0] if _is_annotated(given) else given[0]


def _texts_of(given: Any) -> Any:
    """Of VQAv2's `[{"answer": text, ...}, ...]` the texts, most frequent first; anything else as it is."""
    if not _is_annotated(given):
        return given
    texts = [one["answer"] for one in given]
    return sorted(texts, key=lambda text: -texts.count(text))


def _list_in(cell: Any) -> Any:
    """A list of texts that a table's cell holds: in JSON or Python's own writing, a single one bare.

    >>> [_list_in(cell) for cell in ('["a", "b"]', "['a']", "a cat", 3, "", "[]")]
    [['a', 'b'], ['a'], ['a cat'], ['3'], [], []]
    """
    if isinstance(cell, str) and (listed := _listed(cell)) is not None:
        cell = listed
    elif isinstance(cell, str):
        cell = [cell.strip()] if cell.strip() else []
    several = cell if isinstance(cell, list) else [cell]
    written = [_words(one, "", "") if _is_number(one) else one for one in several]
    return [one for one in written if one != ""] if all(isinstance(one, str) for one in written) else cell


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(cell: str) -> list[Any] | None:
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(cell)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def _is_annotated(answers: Any) -> bool:
    """Whether it is VQAv2's list of answers, of one annotator each."""
    if not isinstance(answers, list) or not answers:
        return False
    return all(isinstance(one, dict) and isinstance(one.get("answer"), str) for one in answers)


def _pictures(given: Any) -> list[Any]:
    if given is None or (isinstance(given, str) and not given.strip()) or (isinstance(given, float) and given != given):
        return []
    if isinstance(given, int) and not isinstance(given, bool):
        return [str(given)]  # its file may be named so
    return given if isinstance(given, list) else [given]


def refuse_picture(fields: dict[str, Any], where: str) -> None:
    """Raise a RowError where one of the fields that are not read seems to hold the row's picture."""
    likely = next((name for name, value in fields.items() if _seems_a_picture(value)), None)
    if likely is not None:
        raise RowError(f"{where}: {likely!r} seems to hold its picture: name it as the image column")


def _seems_a_picture(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_seems_a_picture, value))
    if isinstance(value, dict):
        return value.keys() == {"bytes", "path"}
    return isinstance(value, bytes) or (isinstance(value, str) and _names_a_picture(value))


def _names_a_picture(text: str) -> bool:
    """Whether it may be a picture's path: not an ending alone, nor a sentence that ends with one."""
    stem, dot, ending = text.strip().rpartition(".")
    return bool(dot and stem and not stem[-1].isspace()) and ending.lower() in PICTURES and "\n" not in text


def _words(value: Any, where: str, what: str) -> str:
    """A cell as text: numbers as they are written, a missing one as nothing.

    A column of integers with gaps comes from pandas as floats, the gaps as NaN.
    """
    if isinstance(value, bool):
        raise RowError(f"{where}: the {what} is text or a number, but is a bool: write it in words, as 'yes' or 'no'")
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < _EXACT
        return str(int(value)) if whole else str(value) if math.isfinite(value) else ""
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str | None):
        raise RowError(f"{where}: the {what} is text or a number, but is a {type(value).__name__}")
    return (value or "").strip()


def _pairs(texts: Any, where: str) -> list[Message]:
    """the_cauldron's and FineVision's turns: all pictures stand before the first question."""
    if not isinstance(texts, list):
        raise RowError(f"{where}: 'texts' is a list of pairs, but is {str(texts)[:60]}")
    turns: list[Message] = []
    for number, pair in enumerate(texts):
        if not isinstance(pair, dict) or not {"user", "assistant"} <= pair.keys():
            raise RowError(f"{where}, text {number}: a text has 'user' and 'assistant', but is {str(pair)[:60]}")
        turns += [{"role": role, "content": pair[role]} for role in ("user", "assistant")]
    return turns


def _is_prompted(fields: dict[str, Any]) -> bool:
    """Whether it is TRL's row of a prompt and its completion in messages; in plain text it is a table's row."""
    given = [fields.get("prompt"), fields.get("completion")]
    return None not in given and any(isinstance(one, list) for one in given)


def _said(turns: Any, role: str) -> list[Any]:
    return turns if isinstance(turns, list) else [{"role": role, "content": turns}]


def _has(fields: dict[str, Any]) -> str:
    return f"only {', '.join(fields)}" if fields else "nothing at all"
