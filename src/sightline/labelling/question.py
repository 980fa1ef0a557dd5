"""From a row to what the model is asked about it: `question_of`. It opens no picture, and knows no answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.data.conversation import BESIDE, Picture, picture_of, read_messages
from sightline.data.readers.shapes import refuse_picture
from sightline.labelling.rows import Item

__all__ = ["Asking", "Question", "question_of"]

IMAGE_FIELDS, PROMPT_FIELDS = ("image", "images"), ("prompt", "question")
CAPTION_FIELD = "txt"  # of a shard; most hold captions there, so it asks only where nothing else does
OURS = "sightline"  # what a labelled row says about itself


@dataclass(frozen=True)
class Asking:
    """What is asked, and where it stands in a row.

    Args:
        prompt: the question of every row that has none of its own.
        image_field, prompt_field: names of a row's fields; None: image or images, and prompt or question.
        image_folder: where paths of pictures start; None: where the rows lie.
    """

    prompt: str | None = None
    image_field: str | None = None
    prompt_field: str | None = None
    image_folder: Path | None = None


@dataclass(frozen=True)
class Question:
    """A conversation that ends with the user's turn: image parts are bare, and stand for `pictures` in order.

    A picture is an absolute path, a data URI or the bytes of a file. `fields` are the row's others, as far as JSON can
    carry them.
    """

    messages: list[dict[str, Any]]
    pictures: list[Picture]
    fields: dict[str, Any]

    def with_pictures(self) -> list[dict[str, Any]]:
        """The messages with each picture in its place, as the engine reads them."""
        left = iter(self.pictures)

        def fill(part: dict[str, Any]) -> dict[str, Any]:
            return {"type": "image", "image": next(left)} if part["type"] == "image" else part

        return [{**message, "content": [fill(part) for part in message["content"]]} for message in self.messages]


def question_of(item: Item, asking: Asking, folder: Path) -> Question:
    """What `asking` makes of a row.

    A row in the chat format or in LLaVA's is asked its last user turn; what follows that is left out. Any other row has
    a picture and, perhaps, a prompt.

    Raises:
        FileNotFoundError, ValueError: the row is damaged, or lacks picture, file or question.
    """
    if item.error:
        raise ValueError(item.error)
    fields = item.fields
    prompt_field = next((name for name in _prompt_fields(asking) if not _is_blank(fields.get(name))), None)
    is_chat = any(fields.get(name) is not None for name in ("messages", "conversations"))
    row = _with_its_pictures(fields, asking) if is_chat else _as_chat(fields, asking, prompt_field)
    messages, sources = read_messages(row, item.where)
    messages, sources = _up_to_the_question(messages, sources)
    folder = (asking.image_folder or folder).resolve()
    pictures = [_picture(source, item.where, folder) for source in sources]
    used = {"messages", "conversations", "image", "images", asking.image_field, prompt_field, OURS}
    rest = {name: value for name, value in fields.items() if name not in used and _is_json(value)}
    if is_chat and not pictures and asking.image_field is None:
        refuse_picture({name: value for name, value in fields.items() if name not in used}, item.where)
    return Question(_with_prompt(messages, asking.prompt), pictures, rest)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _with_its_pictures(fields: dict[str, Any], asking: Asking) -> dict[str, Any]:
    """A row with turns, its pictures where `read_messages` looks for them."""
    row = {name: value for name, value in fields.items() if value is not None}
    if asking.image_field is None:
        return row
    apart = {name: value for name, value in row.items() if name not in BESIDE}
    return apart | ({"images": row[asking.image_field]} if asking.image_field in row else {})


def _prompt_fields(asking: Asking) -> tuple[str, ...]:
    if asking.prompt_field is not None:
        return (asking.prompt_field,)
    return PROMPT_FIELDS if asking.prompt is not None else (*PROMPT_FIELDS, CAPTION_FIELD)


def _as_chat(fields: dict[str, Any], asking: Asking, prompt_field: str | None) -> dict[str, Any]:
    names = IMAGE_FIELDS if asking.image_field is None else (asking.image_field,)
    images = next((fields[name] for name in names if fields.get(name) not in (None, [], "")), None)
    if images is None:
        raise ValueError(f"the row has no {' or '.join(names)}, but {', '.join(fields) or 'nothing'}")
    text = "" if prompt_field is None else fields[prompt_field]
    if not isinstance(text, str):
        raise ValueError(f"the row's {prompt_field} is no text, but {type(text).__name__}")
    return {"messages": [{"role": "user", "content": text}], "images": images}


def _up_to_the_question(messages: list[dict[str, Any]], sources: list[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    last = max((n for n, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        raise ValueError("no turn is the user's")
    kept = messages[: last + 1]
    return kept, sources[: sum(part["type"] == "image" for message in kept for part in message["content"])]


def _with_prompt(messages: list[dict[str, Any]], prompt: str | None) -> list[dict[str, Any]]:
    """A last turn without words is asked the `prompt`."""
    *before, turn = messages
    parts = [part for part in turn["content"] if part["type"] == "image" or part["text"].strip()]
    if all(part["type"] == "image" for part in parts):
        if prompt is None:
            raise ValueError("the row has no question of its own: give --prompt")
        return [*before, {**turn, "content": [*parts, {"type": "text", "text": prompt}]}]
    return messages


def _picture(source: Any, where: str, folder: Path) -> Picture:
    picture = picture_of(source, where, folder)
    if isinstance(picture, str):
        try:
            picture.encode()
        except UnicodeEncodeError:
            raise ValueError("the path of the picture is not UTF-8, so no JSON can name it: rename it") from None
    return picture


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):  # a surrogate is a ValueError too
        return False
    return True
