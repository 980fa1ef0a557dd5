"""From a request's messages to the engine's: roles, texts, and pictures that are opened.

All that can be counted is counted first (`read_turns`); pictures are opened (`open_turns`) once a request has its
place. What is typed goes on as it is: that it stays text is the processor's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sightline.serving.errors import APIError
from sightline.serving.images import PixelShare, read_file_image, read_image
from sightline.serving.schemas.chat import FilePart, ImagePart, Message, TextPart
from sightline.serving.security import Identity
from sightline.serving.settings import Limits
from sightline.serving.state import State

__all__ = ["Picture", "Turn", "about", "check_turns", "open_turns", "read_turns"]


@dataclass(frozen=True)
class Picture:
    """A picture that is not open yet: a data URI or URL, or the id of a file; `param` is where it stands."""

    source: str
    param: str
    is_file: bool = False


@dataclass(frozen=True)
class Turn:
    """A message: its role is system, user or assistant, and its parts are texts and pictures."""

    role: str
    parts: tuple[str | Picture, ...]


def read_turns(messages: Sequence[Message], limits: Limits, param: str = "messages") -> list[Turn]:
    """The turns of a conversation. Raises as `check_turns`."""
    turns = [_turn(message, f"{param}[{index}]") for index, message in enumerate(messages)]
    check_turns(turns, limits, param)
    return turns


async def open_turns(turns: Sequence[Turn], state: State, identity: Identity) -> list[dict[str, Any]]:
    """A conversation for the engine, its pictures opened in RGB.

    Raises:
        APIError: a picture cannot be read (`read_image`, `read_file_image`).
    """
    share = state.pixels.share()
    # One after the other: the first that is wrong is named, and one request keeps one thread busy at most.
    return [
        {"role": turn.role, "content": [await _opened(part, state, identity, share) for part in turn.parts]}
        for turn in turns
    ]


@contextmanager
def about(param: str) -> Iterator[None]:
    """What the engine refuses in a prompt is refused by the name of the field that it comes from."""
    try:
        yield
    except APIError as error:
        if error.status == 400 and error.param is None:
            error.param = param
        raise


def _turn(message: Message, where: str) -> Turn:
    role = "system" if message.role == "developer" else message.role
    return Turn(role, tuple(_part(part, f"{where}.content[{index}]") for index, part in enumerate(message.content)))


def _part(part: TextPart | ImagePart | FilePart, where: str) -> str | Picture:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, ImagePart):
        return Picture(part.image_url.url, f"{where}.image_url")
    return Picture(part.file.file_id, f"{where}.file.file_id", is_file=True)


def check_turns(turns: Sequence[Turn], limits: Limits, param: str) -> None:
    """Whether a conversation whose field is `param` can be answered.

    Raises:
        APIError: it ends with the assistant's turn, or has more turns, text or pictures than the server takes.
    """
    if len(turns) > limits.messages:
        raise APIError(f"{len(turns)} messages are more than the {limits.messages} that are taken", param=param)
    parts = [part for turn in turns for part in turn.parts]
    characters = sum(len(part) for part in parts if isinstance(part, str))
    if characters > limits.prompt_chars:
        message = f"{characters} characters of text are more than the {limits.prompt_chars} that are taken"
        raise APIError(message, param=param, code="context_length_exceeded")
    pictures = _pictures(parts)
    if len(pictures) > limits.images:
        message = f"{len(pictures)} pictures are more than the {limits.images} that are taken"
        raise APIError(message, param=pictures[limits.images].param)
    if not turns or turns[-1].role == "assistant":
        raise APIError("the last message has to be the user's (or the system's): it is what is answered", param=param)


def _pictures(parts: Iterable[str | Picture]) -> list[Picture]:
    return [part for part in parts if isinstance(part, Picture)]


async def _opened(part: str | Picture, state: State, identity: Identity, share: PixelShare) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.is_file:
        image = await read_file_image(part.source, state, identity, share, part.param)
    else:
        image = await read_image(part.source, state, share, part.param)
    return {"type": "image", "image": image}
