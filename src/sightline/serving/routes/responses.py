"""`POST /v1/responses`: a conversation answered whole or as it is written, in the newer of OpenAI's two shapes.

Nothing is kept, so nothing can be fetched, continued or deleted by an id. What events there are is others' business.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from fastapi import APIRouter, Request
from fastapi import Response as HTTPResponse

from sightline.engine.request import SamplingParams
from sightline.engine.sampling import LogitsRule
from sightline.serving.answering import Question, unless_gone
from sightline.serving.bodies import StrictRoute
from sightline.serving.choices import Choices
from sightline.serving.errors import ERRORS, APIError
from sightline.serving.item_turns import turns_of
from sightline.serving.logprobs import Vocabulary
from sightline.serving.messages import Turn, about, check_turns, open_turns
from sightline.serving.responding import written
from sightline.serving.response_events import Writing
from sightline.serving.sampling import to_params
from sightline.serving.schemas.responses import Event, JsonSchemaOutput, PlainOutput, Response, ResponseRequest
from sightline.serving.security import Identity, identity
from sightline.serving.sse import EventStream, sse_event
from sightline.serving.state import State
from sightline.serving.usage import check_model

__all__ = ["router"]

_STREAM = (
    "Each event is JSON, with its `type` as the event's name, too: response.created, response.in_progress, "
    "response.output_item.added, response.content_part.added, response.output_text.delta for each piece, "
    "response.output_text.done, response.content_part.done, response.output_item.done, and response.completed, "
    "response.incomplete or response.failed."
)
_EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string", "description": _STREAM}}}}
_STATUSES = (404, 408, 413, 415, 429, 503)


def router(state: State) -> APIRouter:
    """The route of responses."""
    routes = APIRouter(route_class=StrictRoute, tags=["Responses"])
    vocabulary = Vocabulary(state.processor, state.engine.end_tokens)

    @routes.post(
        "/v1/responses",
        response_model=Response,
        responses={200: _EVENTS, **{code: ERRORS[code] for code in _STATUSES}},
    )
    async def create_response(body: ResponseRequest, request: Request) -> Any:
        """Answer a conversation, whole or with `stream` as server-sent events. Nothing of it is kept.

        Without `temperature` the likeliest token is taken each time: a small model says the most true things so.
        """
        check_model(body.model, state.settings)
        params = _params(body, state)
        writing = Writing(body, params, vocabulary)
        who = identity(request)
        if not body.stream:
            return await unless_gone(request, _whole(writing, body, params, state, who))
        choices = await unless_gone(request, _start(body, params, state, who))
        return EventStream(_events(writing, choices, state), choices.close, lambda error: _sse([writing.fail(error)]))

    return routes


def _params(body: ResponseRequest, state: State) -> SamplingParams:
    if body.stream_options is not None and not body.stream:
        raise APIError("stream_options is for stream=true: leave it out", param="stream_options")
    if body.top_logprobs is not None and not body.include:
        message = 'top_logprobs is for include=["message.output_text.logprobs"]: give that as well'
        raise APIError(message, param="top_logprobs")
    (params,) = to_params(
        state,
        max_tokens=body.max_output_tokens,
        max_tokens_field="max_output_tokens",
        logprobs=(body.top_logprobs or 0) if body.include else None,
        temperature=body.temperature,
        top_p=body.top_p,
    )
    return params


async def _whole(
    writing: Writing, body: ResponseRequest, params: SamplingParams, state: State, who: Identity
) -> HTTPResponse:
    async with await _start(body, params, state, who) as choices:
        (reply,) = await choices.replies()
        return await written(state, lambda: writing.whole(reply))


async def _events(writing: Writing, choices: Choices, state: State) -> AsyncGenerator[bytes]:
    yield _sse(writing.begin())
    async for _, piece in choices:
        if piece is not None:
            yield _sse(writing.go_on(piece))
    # They tell the whole answer four times over.
    yield await state.answering.run(lambda: _sse(writing.end(choices.reply(0))))


def _sse(events: Iterable[Event]) -> bytes:
    return b"".join(sse_event(event.model_dump_json(), event.type) for event in events)


async def _start(body: ResponseRequest, params: SamplingParams, state: State, who: Identity) -> Choices:
    turns = [Turn("system", (body.instructions,))] if body.instructions else []
    turns += turns_of(body.input)
    check_turns(turns, state.settings.limits, "input")

    async def read() -> Question:
        rule = await _rule(body, state)
        return Question([await open_turns(turns, state, who)], rule)

    with about("input"):
        return await state.answering.start([params], read, salt=who.salt)


async def _rule(body: ResponseRequest, state: State) -> Callable[[], LogitsRule] | None:
    asked = body.text.format if body.text is not None else None
    if asked is None or isinstance(asked, PlainOutput):
        return None
    schema = asked.json_schema if isinstance(asked, JsonSchemaOutput) else None
    return await state.grammars.compile(asked.type, schema, "text.format" if schema is None else "text.format.schema")
