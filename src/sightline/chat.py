"""The chat format: what a message may contain, how it is written down, and how typed text stays data.

A conversation is rendered by a Jinja template into one string, in which the control tokens and the image
placeholders are the template's own. Whatever a person typed stands between two noncharacters there (`mark`), and
`segments` takes the string apart again, so that each is encoded by its own rules. This file knows no ids, no
tensors and no pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sightline.images import ImageSource
from sightline.tokenizer import AT_TOKEN, END_TOKEN, IMAGE_TOKEN, START_TOKEN

__all__ = [
    "CHAT_TEMPLATE",
    "ROLES",
    "Conversation",
    "Segment",
    "Turn",
    "is_torn",
    "mark",
    "mark_values",
    "read_conversation",
    "segments",
    "template_messages",
]

ROLES = ("system", "user", "assistant")

# ChatML. A typed '@' is replaced here as well, for programs that render the template without this package.
CHAT_TEMPLATE = """\
{%- macro write(content) -%}
    {%- if content is string -%}
        {{- content | replace('@', '<|at|>') -}}
    {%- else -%}
        {%- for part in content -%}
            {%- if part.type == 'image' -%}
                {{- '@' -}}
            {%- else -%}
                {{- part.text | replace('@', '<|at|>') -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' -}}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}
            {{- write(message.content) + '<|im_end|>' -}}
        {%- endgeneration -%}
        {{- '\\n' -}}
    {%- else -%}
        {{- write(message.content) + '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
assert all(f"{token}" in CHAT_TEMPLATE for token in (START_TOKEN, END_TOKEN, AT_TOKEN, f"'{IMAGE_TOKEN}'"))

# Noncharacters: Unicode reserves them for a program's own use, so no text that is exchanged needs them. One that
# is typed all the same is escaped, like the placeholder, and comes back as it was.
_OPEN, _CLOSE = "\U0010fffe", "\U0010ffff"
_SEGMENT = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_ESCAPED = re.compile(f"{_OPEN}([012])")


@dataclass(frozen=True)
class Turn:
    """One message: its role, and its parts in order; `None` stands for an image."""

    role: str
    parts: tuple[str | None, ...]


@dataclass(frozen=True)
class Conversation:
    """The turns of one sample and its images in reading order, each given as its source."""

    turns: tuple[Turn, ...]
    images: tuple[ImageSource, ...]


@dataclass(frozen=True)
class Segment:
    """A stretch of a rendered conversation: the template's own text, one image, or typed text (unescaped)."""

    kind: Literal["template", "image", "typed"]
    text: str
    start: int  # in characters of the rendered string


def mark(text: str, image_token: str = IMAGE_TOKEN) -> str:
    """`text` as data inside a rendered conversation: delimited, and free of `image_token`."""
    escaped = text.replace(_OPEN, f"{_OPEN}0").replace(_CLOSE, f"{_OPEN}1").replace(image_token, f"{_OPEN}2")
    return f"{_OPEN}{escaped}{_CLOSE}"


def segments(rendered: str, image_token: str = IMAGE_TOKEN) -> Iterator[Segment]:
    """Take a rendered conversation apart. Text without marks is all the template's."""
    originals = {"0": _OPEN, "1": _CLOSE, "2": image_token}
    position = 0
    for match in _SEGMENT.finditer(rendered):
        yield from _template_segments(rendered[position : match.start()], position, image_token)
        yield Segment("typed", _ESCAPED.sub(lambda m: originals[m[1]], match[1]), match.start())
        position = match.end()
    yield from _template_segments(rendered[position:], position, image_token)


def _template_segments(text: str, start: int, image_token: str) -> Iterator[Segment]:
    for index, piece in enumerate(text.split(image_token)):
        if index:
            yield Segment("image", image_token, start)
            start += len(image_token)
        if piece:
            yield Segment("template", piece, start)
            start += len(piece)


def is_torn(rendered: str) -> bool:
    """Whether a template cut typed text apart, so that its marks no longer pair up."""
    rest = _SEGMENT.sub("", rendered)
    return _OPEN in rest or _CLOSE in rest


def mark_values(value: Any, image_token: str = IMAGE_TOKEN) -> Any:
    """`mark` every string inside `value` (tools, documents), keys too, except the names that templates compare."""
    if isinstance(value, str):
        return mark(value, image_token)
    if isinstance(value, dict):
        return {
            key if _is_name(key) else mark_values(key, image_token): item
            if key == "type" and _is_name(item)
            else mark_values(item, image_token)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [mark_values(item, image_token) for item in value]
    return value


def _is_name(value: Any) -> bool:
    """Whether it may be a key or type that a template asks for: letters, digits and what joins them."""
    return isinstance(value, str) and re.fullmatch(r"[\w$.-]*", value) is not None


def template_messages(
    messages: Sequence[dict[str, Any]], conversation: Conversation, image_token: str | None
) -> list[dict[str, Any]]:
    """The messages as the template sees them: role and content only, no image sources, text marked.

    Content that is a string stays one. `image_token=None` leaves the text unmarked.
    """

    def text(part: str) -> str:
        return part if image_token is None else mark(part, image_token)

    rendered: list[dict[str, Any]] = []
    for message, turn in zip(messages, conversation.turns, strict=True):
        content: Any = [
            {"type": "image"} if part is None else {"type": "text", "text": text(part)} for part in turn.parts
        ]
        if isinstance(message["content"], str):
            content = content[0]["text"]
        rendered.append({"role": turn.role, "content": content})
    return rendered


def read_conversation(
    messages: Sequence[dict[str, Any]],
    images: Sequence[ImageSource] | None = None,
    sample: int = 0,
    images_follow: bool = False,
) -> Conversation:
    """Check `messages` and gather their images, those in place and those given beside them (`images`).

    A part `{"type": "image"}` without a source takes the next of `images`; with `images_follow` it may stay
    without one, because the images come with the rendered text.

    Raises:
        ValueError: naming `sample` and the message, where the format is broken or the images do not match.
    """
    if not messages or isinstance(messages, (str, bytes, dict)):
        raise ValueError(f"sample {sample}: a conversation is a list of at least one message")
    turns: list[Turn] = []
    sources: list[ImageSource | None] = []
    for index, message in enumerate(messages):
        where = f"sample {sample}, message {index}"
        turn, found = _read_message(message, where)
        turns.append(turn)
        sources += found
    if images_follow and images is None:
        return Conversation(tuple(turns), tuple(source for source in sources if source is not None))
    return Conversation(tuple(turns), _fill_in(sources, images, sample))


def _read_message(message: dict[str, Any], where: str) -> tuple[Turn, list[ImageSource | None]]:
    if not isinstance(message, dict):
        raise ValueError(f"{where} is a dict with 'role' and 'content', but not {type(message).__name__}")
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise ValueError(f"{where}: the role is one of {', '.join(ROLES)}, but not {role!r}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, (list, tuple)):
        got = type(content).__name__
        raise ValueError(f"{where}: the content is a string or a list of parts, but not {got}")
    parts: list[str | None] = []
    sources: list[ImageSource | None] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append(_encodable(part["text"], where))
        elif kind in ("image", "image_url"):
            parts.append(None)
            sources.append(_source(part))
        else:
            got = kind if kind and kind != "text" else type(part).__name__
            raise ValueError(f"{where}: a part is {{'type': 'text', 'text': ...}} or an image, but not {got!r}")
    return Turn(role, tuple(parts)), sources


def _source(part: dict[str, Any]) -> ImageSource | None:
    """An image's source under the keys that transformers and OpenAI use, or None."""
    if isinstance(part.get("image_url"), dict):
        return part["image_url"].get("url")
    keys = ("image", "image_url", "url", "path")
    return next((part[key] for key in keys if part.get(key) is not None), None)


def _encodable(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: character {error.start} of the text is a lone surrogate") from None
    return text


def _fill_in(
    sources: list[ImageSource | None], images: Sequence[ImageSource] | None, sample: int
) -> tuple[ImageSource, ...]:
    given: Any = images  # one picture need not be in a list
    beside = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    open_places = sources.count(None)
    if open_places != len(beside):
        in_place = len(sources) - open_places
        total = in_place + len(beside)
        raise ValueError(
            f"sample {sample}: found {len(sources)} image runs, but {total} images were given "
            f"({in_place} in the messages, {len(beside)} beside them)"
        )
    left = iter(beside)
    return tuple(next(left) if source is None else source for source in sources)
