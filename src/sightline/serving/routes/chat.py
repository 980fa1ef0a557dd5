"""`POST /v1/chat/completions`: a conversation with pictures, answered whole or as it is written.

It joins what others do: reading pictures, compiling grammars, choosing tokens, wording answers. What can be refused
without work is refused first, then a place is taken, and all else is refused before the first byte of an answer.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from fastapi import APIRouter, Request

from sightline.serving.answering import Question
from sightline.serving.bodies import StrictRoute
from sightline.serving.chat_answers import ChatAnswers
from sightline.serving.choices import Choices
from sightline.serving.errors import ERRORS, APIError
from sightline.serving.grammar_source import Kind
from sightline.serving.logprobs import Vocabulary
from sightline.serving.messages import about, open_turns, read_turns
from sightline.serving.responding import respond
from sightline.serving.sampling import check_stream_options, sampling_fields, to_params
from sightline.serving.schemas.chat import ChatCompletion, ChatRequest, JsonSchemaFormat
from sightline.serving.security import Identity, identity
from sightline.serving.sse import stream_documentation
from sightline.serving.state import State
from sightline.serving.usage import Mark, check_model, fingerprint, new_id

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
        answers = ChatAnswers(mark, vocabulary, body.n or 1, bool(body.logprobs), has_usage)
        start = functools.partial(_start, body, state, identity(request))
        return await respond(request, state, answers, bool(body.stream), start)

    return routes


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
    form = _form(body)
    turns = read_turns(body.messages, state.settings.limits)

    async def read() -> Question:
        rule = None if form is None else await state.grammars.compile(*form)
        return Question([await open_turns(turns, state, who)], rule)

    with about("messages"):
        return await state.answering.start(params, read, salt=who.salt)


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


def _form(body: ChatRequest) -> tuple[Kind, Any, str] | None:
    """What the answer is held to, if anything."""
    asked = _forms(body)
    if len(asked) > 1:
        (_, _, first), (_, _, second) = asked[:2]
        raise APIError(f"{first} and {second} both say what form the answer has: give one of them", param=second)
    return asked[0] if asked else None


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
