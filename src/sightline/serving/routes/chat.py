"""`POST /v1/chat/completions`: a conversation with pictures, answered whole or as it is written.

It joins what others do: reading pictures, compiling grammars, choosing tokens, wording answers. What can be refused
is refused before the first byte of an answer.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from sightline.engine.sampling import LogitsRule
from sightline.serving.answering import Choices, unless_gone
from sightline.serving.bodies import StrictRoute
from sightline.serving.chat_answers import ChatAnswers
from sightline.serving.errors import ERRORS, APIError
from sightline.serving.grammar_source import Kind
from sightline.serving.logprobs import TokenStream, Vocabulary
from sightline.serving.messages import about, read_messages
from sightline.serving.sampling import check_stream_options, sampling_fields, to_params
from sightline.serving.schemas.chat import ChatCompletion, ChatRequest, JsonSchemaFormat
from sightline.serving.security import Identity, identity
from sightline.serving.sse import DONE, EventStream, error_event, sse_event, stream_documentation
from sightline.serving.state import State
from sightline.serving.usage import Mark, check_finished, check_model, fingerprint, new_id
from sightline.serving.written import json_response

__all__ = ["router"]

_STATUSES = (404, 408, 413, 415, 429, 503)


def router(state: State) -> APIRouter:
    """The route of chats."""
    routes = APIRouter(route_class=StrictRoute)
    vocabulary, print_ = Vocabulary(state.processor, state.engine.end_tokens), fingerprint(state)

    @routes.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses={200: stream_documentation("chat.completion.chunk"), **{code: ERRORS[code] for code in _STATUSES}},
    )
    async def create_chat_completion(body: ChatRequest, request: Request) -> Any:
        """Answer a conversation, whole or, with `stream`, as it is written.

        Without a `temperature` each token is the likeliest one: small models say what is true most often so.
        """
        mark = Mark(new_id("chatcmpl-"), int(time.time()), body.model, print_)
        options = body.stream_options
        has_usage = options is not None and bool(options.include_usage)
        answers = ChatAnswers(mark, vocabulary, bool(body.logprobs), has_usage)
        if not body.stream:
            return await unless_gone(request, _whole(body, state, identity(request), answers))
        choices = await unless_gone(request, _start(body, state, identity(request)))
        return EventStream(_events(choices, body.n or 1, answers), choices.close, error_event)

    return routes


async def _whole(body: ChatRequest, state: State, who: Identity, answers: ChatAnswers) -> Response:
    async with await _start(body, state, who) as choices:
        replies = await choices.replies()
    check_finished(replies)
    # Many answers with log probabilities take seconds to write down, and the others' streams must not wait.
    return await state.answering.run(lambda: json_response(answers.whole(replies)), counted=True)


async def _events(choices: Choices, count: int, answers: ChatAnswers) -> AsyncGenerator[bytes]:
    for index in range(count):
        yield sse_event(answers.first(index))
    streams = [TokenStream(answers.vocabulary) for _ in range(count)]
    async for index, piece in choices:
        said = streams[index].push(piece)
        if piece.text or said:
            yield sse_event(answers.more(index, piece.text, said))
    replies = [choices.reply(index) for index in range(count)]
    check_finished(replies)
    for index, reply in enumerate(replies):
        if said := streams[index].finish(reply):
            yield sse_event(answers.more(index, "", said))
        yield sse_event(answers.last(index, reply))
    if answers.has_usage:
        yield sse_event(answers.usage(replies))
    yield DONE


async def _start(body: ChatRequest, state: State, who: Identity) -> Choices:
    """Check all of it, cheap things first, and have it worked on."""
    check_model(body.model, state.settings)
    check_stream_options(body)
    params = to_params(
        state,
        **_max_tokens(body),
        n=body.n,
        seed=body.seed,
        stop=body.stop,
        logit_bias=body.logit_bias,
        logprobs=_logprobs(body),
        **sampling_fields(body),
    )
    rule = await _rule(body, state)
    messages = await read_messages(body.messages, state, who)
    with about("messages"):
        return await state.answering.start(messages, params, salt=who.salt, rule=rule)


def _max_tokens(body: ChatRequest) -> dict[str, Any]:
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        text = "max_tokens is the older name of max_completion_tokens: give one of them"
        raise APIError(text, param="max_tokens", code="invalid_value")
    if body.max_completion_tokens is None:
        return {"max_tokens": body.max_tokens}
    return {"max_tokens": body.max_completion_tokens, "max_tokens_field": "max_completion_tokens"}


def _logprobs(body: ChatRequest) -> int | None:
    if body.top_logprobs is not None and not body.logprobs:
        raise APIError("top_logprobs is for logprobs=true: set that as well", param="top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None


async def _rule(body: ChatRequest, state: State) -> Callable[[], LogitsRule] | None:
    """What the answer's form is held to, if anything."""
    asked = _forms(body)
    if len(asked) > 1:
        (_, _, first), (_, _, second) = asked[:2]
        raise APIError(f"{first} and {second} both say what form the answer has: give one of them", param=second)
    if not asked:
        return None
    return await state.answering.run(functools.partial(state.grammars.compile, *asked[0]), waits=True)


def _forms(body: ChatRequest) -> list[tuple[Kind, Any, str]]:
    form, found = body.response_format, list[tuple[Kind, Any, str]]()
    if isinstance(form, JsonSchemaFormat):
        found.append(("json_schema", form.json_schema.json_schema, "response_format.json_schema.schema"))
    elif form is not None and form.type == "json_object":
        found.append(("json_object", None, "response_format"))
    if body.regex is not None:
        found.append(("regex", body.regex, "regex"))
    if body.choice is not None:
        found.append(("choice", body.choice, "choice"))
    return found
