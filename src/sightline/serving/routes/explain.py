"""`POST /v1/explain`: what the model looked at for each word of an answer, one request at a time.

What is computed, and how, is `sightline.explain`'s business.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from sightline.engine.request import SamplingParams
from sightline.explain.explaining import TooLarge, explain
from sightline.explain.forced import TooLong
from sightline.explain.occlusion import Windows
from sightline.serving.answering import Question, unless_gone
from sightline.serving.bodies import StrictRoute
from sightline.serving.errors import ERRORS, APIError
from sightline.serving.messages import Turn, about, open_turns, read_turns
from sightline.serving.schemas.chat import TextPart
from sightline.serving.schemas.explain import Explained, ExplainRequest
from sightline.serving.security import Identity, identity
from sightline.serving.state import State
from sightline.serving.turns import OnProgress, Turns
from sightline.serving.usage import check_finished, check_model

__all__ = ["router"]

_MAX_NEW_TOKENS = 128  # of the model's own answer
_STATUSES = (404, 408, 413, 415, 429, 503)

# A conversation for the engine, and an answer as text or as its tokens.
_Read = tuple[list[dict[str, Any]], str | Sequence[int]]


def router(state: State) -> APIRouter:
    """The route of explanations."""
    routes = APIRouter(route_class=StrictRoute, tags=["Explain"])
    turns = Turns(state.settings.limits.explain_queue, state.metrics.rejected)

    @routes.post("/v1/explain", response_model=Explained, responses={code: ERRORS[code] for code in _STATUSES})
    async def explain_answer(body: ExplainRequest, request: Request) -> Response:
        """Which patches of the pictures each word of an answer attended to, and what it loses when they are hidden."""
        _check(body, state)
        conversation = read_turns(body.messages, state.settings.limits)
        read = functools.partial(_read, body, conversation, state, identity(request))
        found = await unless_gone(request, turns.run(read, functools.partial(_explain, body, state)))
        return Response(found, media_type="application/json")

    return routes


def _check(body: ExplainRequest, state: State) -> None:
    """Everything that is known to be wrong before a picture is opened."""
    check_model(body.model, state.settings)
    config, most = state.model.config, state.settings.limits.prompt_chars
    _check_index("layer", body.layer, config.num_hidden_layers, body.rollout)
    _check_index("head", body.head, config.num_attention_heads, body.rollout)
    _check_windows(body, math.isqrt(config.num_image_tokens))
    if all(isinstance(part, TextPart) for message in body.messages for part in message.content):
        raise APIError("there is no picture in the messages, so there is nothing to look at", param="messages")
    if body.answer is not None and not body.answer.strip():
        raise APIError("the answer holds no word: leave it out to explain the model's own", param="answer")
    if body.answer is not None and len(body.answer) > most:
        text = f"the answer's {len(body.answer)} characters are more than the {most} that are taken"
        raise APIError(text, param="answer", code="context_length_exceeded")


def _check_index(field: str, index: int | None, count: int, rollout: bool) -> None:
    if index is None:
        return
    if rollout:
        raise APIError(f"a rollout goes through all layers and heads: leave {field} out", param=field)
    if index >= count:
        raise APIError(f"{field} is at most {count - 1} with this model, not {index}", param=field)


def _check_windows(body: ExplainRequest, side: int) -> None:
    for field, given in (("window", (body.window,)), ("stride", (body.window, body.stride))):
        if given[-1] is None:
            continue
        if not body.occlusion:
            raise APIError(f"{field} says nothing without occlusion: leave it out", param=field)
        try:
            Windows.of(side, *given)
        except ValueError as error:
            raise APIError(str(error), param=field) from None


async def _read(body: ExplainRequest, conversation: Sequence[Turn], state: State, who: Identity) -> _Read:
    if body.answer is not None:
        return await open_turns(conversation, state, who), body.answer
    messages: list[dict[str, Any]] = []

    async def read() -> Question:
        messages.extend(await open_turns(conversation, state, who))
        return Question([messages])

    most = min(_MAX_NEW_TOKENS, state.settings.limits.max_tokens or _MAX_NEW_TOKENS)
    with about("messages"):
        started = await state.answering.start([SamplingParams(max_new_tokens=most)], read, salt=who.salt)
    async with started as choices:
        replies = await choices.replies()
    check_finished(replies)
    (reply,) = replies
    if not reply.text.strip():
        raise APIError("the model's own answer holds no word: give one", param="answer")
    # An answer may end with a token for which there is no place any more.
    return messages, reply.tokens[: state.model.config.max_position_embeddings - reply.usage.prompt_tokens]


def _explain(body: ExplainRequest, state: State, read: _Read, on_progress: OnProgress) -> bytes:
    """In a thread, JSON and all: the maps of a long answer are megabytes."""
    messages, answer = read
    try:
        found = explain(
            state.model,
            state.processor,
            messages,
            answer,
            occlusion=body.occlusion,
            layer=body.layer,
            head=body.head,
            rollout=body.rollout,
            window=body.window,
            stride=body.stride,
            on_progress=on_progress,
        )
    except ValueError as error:
        raise _as_api_error(error) from None
    return Explained(model=body.model, **found.as_dict()).model_dump_json().encode()


def _as_api_error(error: ValueError) -> APIError:
    """The only thing that is not known before: how long prompt and answer are together."""
    if isinstance(error, TooLarge):
        return APIError(str(error), status=413, param="messages", code="context_length_exceeded")
    if isinstance(error, TooLong):
        return APIError(str(error), param="messages", code="context_length_exceeded")
    return APIError("this answer to these messages cannot be explained", param="answer")
