"""Conversations with pictures from a user's own file, read a row at a time: `read_chat_file`.

Two formats, each as JSONL or as one JSON list: the chat format of TRL and transformers, and LLaVA's. A row becomes
messages and the sources of its pictures, checked as far as that goes without opening one. Who opens them, and what
becomes of the text, is not known here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["ChatFile", "ChatRow", "read_chat_file", "read_messages", "resolve_picture"]

IMAGE_TAG = "<image>"
ROLES = ("system", "user", "assistant")
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_TAKEN = {"messages", "conversations", "images", "image"}

Part = dict[str, Any]
Message = dict[str, Any]


@dataclass(frozen=True)
class ChatRow:
    """One conversation.

    `messages` are `{"role", "content"}`, where the content is a list of `{"type": "text", "text": str}` and
    `{"type": "image"}`; `images` are the sources (absolute paths or data URIs) of the image parts in order;
    `where` is what people call the row, and `fields` whatever else it holds.
    """

    messages: list[Message]
    images: list[str]
    where: str
    fields: dict[str, Any] = field(default_factory=dict)


class ChatFile:
    """The rows of a file, each read when it is asked for: only their places are kept.

    It may be shared by the worker processes of a DataLoader. Indexing raises what `read_chat_file` lists.
    """

    def __init__(self, path: Path, image_folder: Path):
        self.path, self.image_folder = path, image_folder
        self._is_list, self._places = _places(path)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[ChatRow]:
        with self.path.open("rb") as file:
            for index in range(len(self)):
                yield self._read(file, index)

    def __getitem__(self, index: int) -> ChatRow:
        with self.path.open("rb") as file:
            return self._read(file, index)

    def where(self, *indices: int) -> str:
        """What people call these rows: their lines, in a JSON list their numbers; both from 1."""
        unit = "row" if self._is_list else "line"
        numbers = ", ".join(str(self._places[index][2]) for index in indices)
        return f"{self.path}, {unit}{'s' if len(indices) > 1 else ''} {numbers}"

    def fields(self, index: int) -> Any:
        """A row as it is written, in whatever format. Raises ValueError where it is no JSON."""
        with self.path.open("rb") as file:
            return self._load(file, index)

    def _load(self, file: BinaryIO, index: int) -> Any:
        start, end, _ = self._places[index]
        file.seek(start)
        try:
            return json.loads(file.read(end - start))
        except ValueError as error:
            raise ValueError(f"{self.where(index)} is not JSON: {error}") from None

    def _read(self, file: BinaryIO, index: int) -> ChatRow:
        return _read_row(self._load(file, index), self.where(index), self.image_folder)


def read_chat_file(path: str | os.PathLike[str], image_folder: str | os.PathLike[str] | None = None) -> ChatFile:
    """The rows of a JSONL file, or of a JSON file that is one list, as `ChatRow`s that are read when indexed.

    A row is `{"messages": [{"role", "content"}], "images": [...]}` or LLaVA's `{"image": ..., "conversations":
    [{"from": "human", "value": "<image>\\n..."}, {"from": "gpt", "value": ...}]}`. Pictures are paths relative to
    `image_folder` (default: the file's own folder) or data URIs; they may stand in the messages' image parts
    instead. Where no part and no `<image>` says where they go, they open the first user message, as in TRL.

    Raises:
        FileNotFoundError: there is no such file, folder or (when a row is read) picture.
        ValueError: the file is empty or no JSON; or, when it is read, a row is of neither format, or has
            another number of pictures than places for them. The message names file and row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    folder = path.parent if image_folder is None else Path(image_folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to take the pictures of {path} from")
    return ChatFile(path, folder.resolve())


def _places(path: Path) -> tuple[bool, np.ndarray]:
    """Whether the file is one list, and its rows' places `[rows, 3]`: first byte, last byte + 1, number from 1."""
    with path.open("rb") as file:
        start = 3 if file.read(3) == b"\xef\xbb\xbf" else 0  # a byte order mark
        file.seek(start)
        is_list = next((line.lstrip()[:1] for line in file if line.strip()), b"") == b"["
        file.seek(start)
        found = _list_places(file.read(), path, start) if is_list else _line_places(file, start)
    if not found:
        raise ValueError(f"{path} holds no rows")
    return is_list, np.array(found, dtype=np.int64)


def _line_places(lines: Any, start: int) -> list[tuple[int, int, int]]:
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.append((start, start + len(line), number))
        start += len(line)
    return found


def _list_places(raw: bytes, path: Path, offset: int) -> list[tuple[int, int, int]]:
    # As Latin-1 every byte is one character, so places in the text are places in the file.
    text = raw.decode("latin-1")
    decoder = json.JSONDecoder()
    found: list[tuple[int, int, int]] = []
    position = _skip_space(text, text.index("[") + 1)
    while text[position : position + 1] != "]":
        try:
            if found:
                if text[position : position + 1] != ",":
                    raise ValueError("a comma or the closing bracket is missing")
                position = _skip_space(text, position + 1)
            _, end = decoder.raw_decode(text, position)
        except ValueError as error:
            raise ValueError(f"{path}, row {len(found) + 1} is not JSON: {error}") from None
        found.append((offset + position, offset + end, len(found) + 1))
        position = _skip_space(text, end)
    if text[position + 1 :].strip():
        raise ValueError(f"{path} goes on after its list ends")
    return found


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\r", "\n"):
        position += 1
    return position


def _read_row(fields: Any, where: str, folder: Path) -> ChatRow:
    messages, sources = read_messages(fields, where)
    images = [resolve_picture(source, where, folder) for source in sources]
    rest = {key: value for key, value in fields.items() if key not in _TAKEN}
    return ChatRow(messages, images, where, rest)


def read_messages(fields: Any, where: str) -> tuple[list[Message], list[Any]]:
    """A row's messages as in `ChatRow`, and what it gives for their image parts, in order.

    Raises:
        ValueError: naming the row `where`, as `read_chat_file` lists them.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"{where} is no JSON object with 'messages' or 'conversations', but {_short(fields)}")
    beside = _beside(fields, where)
    if "messages" in fields:
        messages = [_message(message, where, n) for n, message in enumerate(_list_of(fields, "messages", where))]
        if beside and not any(part["type"] == "image" for message in messages for part in message["content"]):
            messages = _place_images(messages, len(beside))
    elif "conversations" in fields:
        turns = _list_of(fields, "conversations", where)
        messages = [_split(_llava_turn(turn, where, n), to_front=True) for n, turn in enumerate(turns)]
    else:
        raise ValueError(f"{where} has neither 'messages' nor 'conversations', but {', '.join(fields) or 'nothing'}")
    sources = _sources(messages, beside, where)
    return [{**message, "content": [_bare(part) for part in message["content"]]} for message in messages], sources


def _beside(fields: dict[str, Any], where: str) -> list[Any]:
    given = fields.get("images", fields.get("image"))
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def _list_of(fields: dict[str, Any], key: str, where: str) -> list[Any]:
    if not isinstance(fields[key], list) or not fields[key]:
        raise ValueError(f"{where}: {key!r} is a list of at least one turn, but is {_short(fields[key])}")
    return fields[key]


def _message(message: Any, where: str, number: int) -> Message:
    """A message of the chat format, its content as a list of parts."""
    where = f"{where}, message {number}"
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise ValueError(f"{where}: a message has a 'role' of {', '.join(ROLES)} and a 'content'")
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise ValueError(f"{where}: the content is a string or a list of parts, but is {_short(content)}")
    return {"role": message["role"], "content": [_part(part, where) for part in content]}


def _part(part: Any, where: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": _text(part.get("text"), where)}
    if kind not in ("image", "image_url"):
        raise ValueError(f"{where}: a part has the type 'text' or 'image', but this has {kind!r}")
    url = part.get("image_url")
    source = url.get("url") if isinstance(url, dict) else url
    return {"type": "image", "image": source or part.get("image") or part.get("path") or part.get("url")}


def _llava_turn(turn: Any, where: str, number: int) -> Message:
    where = f"{where}, turn {number}"
    role = _SPEAKERS.get(str(turn.get("from"))) if isinstance(turn, dict) else None
    if role is None:
        raise ValueError(f"{where}: a turn has a 'from' of {', '.join(_SPEAKERS)} and a 'value'")
    return {"role": role, "content": [{"type": "text", "text": _text(turn.get("value"), where)}]}


def _text(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{where}: the text is a string, but is {_short(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: character {error.start} of the text is a lone surrogate") from None
    return text


def _place_images(messages: list[Message], count: int) -> list[Message]:
    """Make places for pictures given beside the messages: at their tags, else before the first user's text."""
    if any(IMAGE_TAG in part["text"] for message in messages for part in message["content"]):
        return [_split(message) for message in messages]
    first = next((message for message in messages if message["role"] == "user"), messages[0])
    first["content"] = [{"type": "image", "image": None} for _ in range(count)] + first["content"]
    return messages


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
        raise ValueError(f"{where}: {places} places for pictures, but {len(beside)} pictures are given for them")
    left = iter(beside)
    return [next(left) if part["image"] is None else part["image"] for part in parts]


def resolve_picture(source: Any, where: str, folder: Path) -> str:
    """The absolute path of a picture given relative to `folder`; a data URI stays as it is.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is neither.
    """
    if isinstance(source, dict):  # as `datasets` writes an image
        source = source.get("path")
    if not isinstance(source, str) or not source:
        raise ValueError(f"{where}: a picture is a path or a data URI, but is {_short(source)}")
    if source[:5].lower() == "data:":
        return source
    if source.lower().startswith(("http://", "https://")):
        raise ValueError(f"{where}: {source!r} is a URL, and pictures are not downloaded: give a file")
    path = folder / source
    try:
        if path.is_file():
            return str(path)
    except (OSError, ValueError):  # too long a name, or a zero byte in it
        pass
    raise FileNotFoundError(f"{where}: there is no picture {str(path)!r}")


def _bare(part: Part) -> Part:
    return {"type": "image"} if part["type"] == "image" else part


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
