"""A request's answers as one response, or as the events of a stream: what chats and completions have in common.

How an answer is worded is others' business (`chat_answers.py`, `completion_answers.py`), and so is what is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from fastapi import Request, Response
from pydantic import BaseModel

from sightline.engine.request import Reply
from sightline.serving.answering import unless_gone
from sightline.serving.choices import Choices
from sightline.serving.logprobs import Said, TokenStream, Vocabulary
from sightline.serving.sse import DONE, EventStream, error_event, sse_event
from sightline.serving.state import State
from sightline.serving.usage import check_finished

__all__ = ["Wording", "respond", "written"]


class Wording(Protocol):
    """How the answers to one request are worded; each has its index."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the model that answers."""

    @property
    def has_usage(self) -> bool:
        """Whether a stream tells what the answers took; a whole response always does."""

    @property
    def count(self) -> int:
        """How many answers there are."""

    def whole(self, replies: Sequence[Reply]) -> BaseModel:
        """All answers at once."""

    def first(self) -> Iterable[str]:
        """The chunks before any text."""

    def more(self, index: int, text: str, said: Sequence[Said]) -> str:
        """A chunk with some text and the tokens it ends."""

    def last(self, index: int, reply: Reply) -> str:
        """The chunk that tells why an answer ends."""

    def usage(self, replies: Sequence[Reply]) -> str:
        """The chunk that tells what all answers took."""


async def respond(
    request: Request, state: State, wording: Wording, stream: bool, start: Callable[[], Awaitable[Choices]]
) -> Response:
    """The answers that `start` begins, whole or as they are written.

    Raises:
        APIError: as `start`, before the first byte; a stream tells of what fails later in its last event.
        ClientGone: the client went away before an answer was there.
    """
    if not stream:
        return await unless_gone(request, _whole(state, wording, start))
    choices = await unless_gone(request, start())
    return EventStream(_events(choices, wording), choices.close, error_event)


async def _whole(state: State, wording: Wording, start: Callable[[], Awaitable[Choices]]) -> Response:
    async with await start() as choices:
        replies = await choices.replies()
        check_finished(replies)
        return await written(state, lambda: wording.whole(replies))


async def written(state: State, make: Callable[[], BaseModel]) -> Response:
    """What `make` gives as a response, just as FastAPI would write it from its event loop.

    It is made in a thread: answers with log probabilities take seconds, and the others' streams must not wait.
    """
    text = await state.answering.run(lambda: make().model_dump_json(by_alias=True))
    return Response(text, media_type="application/json")


async def _events(choices: Choices, wording: Wording) -> AsyncGenerator[bytes]:
    for chunk in wording.first():
        yield sse_event(chunk)
    streams = [TokenStream(wording.vocabulary) for _ in range(wording.count)]
    async for index, piece in choices:
        if piece is None:
            reply = choices.reply(index)
            check_finished([reply])
            if said := streams[index].finish(reply):
                yield sse_event(wording.more(index, "", said))
            yield sse_event(wording.last(index, reply))
            continue
        said = streams[index].push(piece)
        if piece.text or said:
            yield sse_event(wording.more(index, piece.text, said))
    if wording.has_usage:
        yield sse_event(wording.usage([choices.reply(index) for index in range(wording.count)]))
    yield DONE
