"""A row's fields as a conversation with pictures: `read_messages` for the formats that hold turns, `picture_of`.

The formats are the chat format of TRL and transformers, LLaVA's and minimind-v's. Rows are checked as far as that goes
without opening a picture. Which file a row came from, and rows that are no conversations yet, are not known here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "BESIDE",
    "ChatRow",
    "MissingPicture",
    "Picture",
    "RowError",
    "picture_of",
    "place_pictures",
    "read_messages",
]

IMAGE_TAG = "<image>"
ROLES = ("system", "user", "assistant")
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".JPG", ".PNG")
LONGEST_PATH = 4096  # characters, as on Linux
BESIDE = ("images", "image", "image_bytes")  # where pictures are given beside the turns

Part = dict[str, Any]
Message = dict[str, Any]
Picture = str | bytes  # an absolute path, a data URI, or the bytes of a file


class RowError(ValueError):
    """A row that is no conversation. `kind` is what a summary counts it under."""

    def __init__(self, message: str, kind: str = "wrong format"):
        super().__init__(message)
        self.kind = kind


class MissingPicture(FileNotFoundError):
    """A row whose picture is not where it says."""

    kind = "missing picture"


@dataclass(frozen=True)
class ChatRow:
    """One conversation.

    `messages` are `{"role", "content"}`, where the content is a list of `{"type": "text", "text": str}` and
    `{"type": "image"}`; `images` are the sources (absolute paths, data URIs or bytes) of the image parts in order;
    `where` is what people call the row, and `fields` whatever else it holds.
    """

    messages: list[Message]
    images: list[Picture]
    where: str
    fields: dict[str, Any] = field(default_factory=dict)


def read_messages(fields: Any, where: str) -> tuple[list[Message], list[Any]]:
    """A row's messages as in `ChatRow`, and what it gives for their image parts, in order.

    A row is `{"messages": [{"role", "content"}], "images": [...]}`, LLaVA's `{"image": ..., "conversations": [{"from":
    "human", "value": "<image>\\n..."}, {"from": "gpt", "value": ...}]}` or minimind-v's, whose conversations have
    `role` and `content` and whose pictures are `image_bytes`. Turns may be written as JSON. Where no part and no
    `<image>` says where pictures go, they open the first user message, as in TRL; rows with conversations must say it.

    Raises:
        RowError: the row is of no such format, or has another number of pictures than places for them.
    """
    if not isinstance(fields, dict):
        raise RowError(f"{where} is no JSON object with 'messages' or 'conversations', but {_short(fields)}")
    beside = _beside(fields)
    if "messages" in fields:
        messages = [
            _message(message, f"{where}, message {n}") for n, message in enumerate(_turns(fields, "messages", where))
        ]
        messages = place_pictures(messages, len(beside))
    elif "conversations" in fields:
        turns = _turns(fields, "conversations", where)
        messages = [_turn(turn, f"{where}, turn {n}") for n, turn in enumerate(turns)]
    else:
        raise RowError(f"{where} has neither 'messages' nor 'conversations', but {', '.join(fields) or 'nothing'}")
    sources = _sources(messages, beside, where)
    return [{**message, "content": [_bare(part) for part in message["content"]]} for message in messages], sources


def place_pictures(messages: list[Message], count: int) -> list[Message]:
    """Make places for `count` pictures given beside the messages, unless these have some: at their tags, else before
    the first user's text."""
    parts = [part for message in messages for part in message["content"]]
    if not count or any(part["type"] == "image" for part in parts):
        return messages
    if any(IMAGE_TAG in part["text"] for part in parts):
        return [_split(message) for message in messages]
    first = next((message for message in messages if message["role"] == "user"), messages[0])
    first["content"] = [{"type": "image", "image": None} for _ in range(count)] + first["content"]
    return messages


def picture_of(source: Any, where: str, folder: Path) -> Picture:
    """What a row says of a picture, as a `Picture`; paths are relative to `folder`.

    A path that is no file may be one of Windows, or lack its ending, as the number of a picture does.

    Raises:
        MissingPicture: there is no such file.
        RowError: it is no picture at all, or a URL.
    """
    if isinstance(source, dict):  # as `datasets` writes an image: bytes, or a path where there are none
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if not isinstance(source, str) or not source:
        raise RowError(f"{where}: a picture is a path or a data URI, but is {_short(source)}")
    if source[:5].lower() == "data:":
        return source
    if source.lower().startswith(("http://", "https://")):
        raise RowError(f"{where}: {source!r} is a URL, and pictures are not downloaded: give a file", "missing picture")
    path = folder / source
    try:
        if path.is_file():
            return str(path)
        if found := _found_by(folder / source.replace("\\", "/")):
            return str(found)
    except (OSError, ValueError):  # too long a name, or a zero byte in it
        pass
    if len(source) > LONGEST_PATH:
        raise RowError(
            f"{where}: its picture is no path, but a text of {len(source):,} characters ({_short(source)}): if it is "
            "base64, write data:image/png;base64, before it"
        )
    raise MissingPicture(f"{where}: there is no picture {str(path)!r}")


def _found_by(path: Path) -> Path | None:
    """The file at `path`, or the one picture of that name with an ending."""
    if path.is_file():
        return path
    if path.suffix:
        return None
    found = [one for ending in _ENDINGS if (one := path.with_suffix(ending)).is_file()]
    # Where case does not count, two endings find one file.
    return found[0] if found and all(one.samefile(found[0]) for one in found) else None


def _beside(fields: dict[str, Any]) -> list[Any]:
    """The pictures given beside the turns: of the first of the usual fields that holds any."""
    given: Any = next((fields[name] for name in BESIDE if fields.get(name) not in (None, [], "")), [])
    return given if isinstance(given, list) else [given]


def _turns(fields: dict[str, Any], key: str, where: str) -> list[Any]:
    turns = fields[key]
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError) as error:
            raise RowError(f"{where}: {key!r} is text, but no JSON: {error}") from None
    if not isinstance(turns, list) or not turns:
        raise RowError(f"{where}: {key!r} is a list of at least one turn, but is {_short(turns)}")
    return turns


def _message(message: Any, where: str) -> Message:
    """A message of the chat format, its content as a list of parts."""
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise RowError(f"{where}: a message has a 'role' of {', '.join(ROLES)} and a 'content'")
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise RowError(f"{where}: the content is a string or a list of parts, but is {_short(content)}")
    return {"role": message["role"], "content": [_part(part, where) for part in content]}


def _part(part: Any, where: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": _text(part.get("text"), where)}
    if kind not in ("image", "image_url"):
        raise RowError(f"{where}: a part has the type 'text' or 'image', but this has {kind!r}")
    url = part.get("image_url")
    source = url.get("url") if isinstance(url, dict) else url
    return {"type": "image", "image": source or part.get("image") or part.get("path") or part.get("url")}


def _turn(turn: Any, where: str) -> Message:
    """A turn of a conversation, taken apart at its tags: of LLaVA's `from` and `value`, or `role` and `content`."""
    if isinstance(turn, dict) and "from" not in turn and "role" in turn:
        message = _message(turn, where)
        has_places = any(part["type"] == "image" for part in message["content"])
        return message if has_places else _split(message)
    role = _SPEAKERS.get(str(turn.get("from"))) if isinstance(turn, dict) else None
    if role is None:
        raise RowError(f"{where}: a turn has a 'from' of {', '.join(_SPEAKERS)} and a 'value'")
    return _split({"role": role, "content": [{"type": "text", "text": _text(turn.get("value"), where)}]}, to_front=True)


def _text(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise RowError(f"{where}: the text is a string, but is {_short(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"{where}: character {error.start} of the text is a lone surrogate") from None
    return text


def _split(message: Message, to_front: bool = False) -> Message:
    """The text taken apart at its tags. LLaVA's training moves a single picture to the front (`to_front`)."""
    parts: list[Part] = []
    for part in message["content"]:
        for index, text in enumerate(part["text"].split(IMAGE_TAG)):
            parts += [{"type": "image", "image": None}] * bool(index)
            parts += [{"type": "text", "text": text}] if text else []
    pictures = [part for part in parts if part["type"] == "image"]
    if not pictures:
        return message
    if to_front and len(pictures) == 1:
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        parts = [*pictures, {"type": "text", "text": text}]
    # The line breaks around a tag belong to the tag.
    parts = [part if part["type"] == "image" else {**part, "text": part["text"].strip("\n")} for part in parts]
    return {**message, "content": [part for part in parts if part["type"] == "image" or part["text"]]}


def _sources(messages: list[Message], beside: list[Any], where: str) -> list[Any]:
    """The pictures in reading order: those in the parts, and those beside for the parts without one."""
    parts = [part for message in messages for part in message["content"] if part["type"] == "image"]
    places = sum(part["image"] is None for part in parts)
    if places != len(beside):
        raise RowError(
            f"{where}: {places} places for pictures, but {len(beside)} pictures are given for them: give as many of "
            "one as of the other, or take the row out",
            "pictures and places",
        )
    left = iter(beside)
    return [next(left) if part["image"] is None else part["image"] for part in parts]


def _bare(part: Part) -> Part:
    return {"type": "image"} if part["type"] == "image" else part


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
