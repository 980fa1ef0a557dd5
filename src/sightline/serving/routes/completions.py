"""`POST /v1/completions`: texts that the model goes on from, whole or as they are written.

The older API, without a template and without pictures. Like `chat.py` it joins what others do.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from sightline.engine.engine import Prepared
from sightline.engine.request import SamplingParams
from sightline.serving.answering import Choices, unless_gone
from sightline.serving.bodies import StrictRoute
from sightline.serving.completion_answers import CompletionAnswers
from sightline.serving.errors import ERRORS, APIError
from sightline.serving.logprobs import TokenStream, Vocabulary
from sightline.serving.messages import about
from sightline.serving.plain_prompts import listed, read_prompts
from sightline.serving.sampling import check_stream_options, sampling_fields, to_params
from sightline.serving.schemas.completions import Completion, CompletionRequest
from sightline.serving.security import Identity, identity
from sightline.serving.sse import DONE, EventStream, error_event, sse_event, stream_documentation
from sightline.serving.state import State
from sightline.serving.together import Together
from sightline.serving.usage import Mark, check_finished, check_model, fingerprint, new_id
from sightline.serving.written import json_response

__all__ = ["router"]

DEFAULT_MAX_TOKENS = 16  # OpenAI's
_STATUSES = (404, 408, 413, 415, 429, 503)


def router(state: State) -> APIRouter:
    """The route of completions."""
    routes = APIRouter(route_class=StrictRoute)
    vocabulary, print_ = Vocabulary(state.processor, state.engine.end_tokens), fingerprint(state)

    @routes.post(
        "/v1/completions",
        response_model=Completion,
        responses={200: stream_documentation("text_completion"), **{code: ERRORS[code] for code in _STATUSES}},
    )
    async def create_completion(body: CompletionRequest, request: Request) -> Any:
        """Go on from a text, several texts, or token ids. Without a `temperature` each token is the likeliest one."""
        mark, who = Mark(new_id("cmpl-"), int(time.time()), body.model, print_), identity(request)
        if not body.stream:
            return await unless_gone(request, _whole(body, state, who, mark, vocabulary))
        together = await unless_gone(request, _start(body, state, who))
        answers = _answers(body, state, mark, vocabulary)
        return EventStream(_events(together, body.n or 1, answers), together.close, error_event)

    return routes


async def _whole(body: CompletionRequest, state: State, who: Identity, mark: Mark, vocabulary: Vocabulary) -> Response:
    async with await _start(body, state, who) as together:
        prompts = await together.replies()
    check_finished([reply for replies in prompts for reply in replies])
    answers = _answers(body, state, mark, vocabulary)
    return await state.answering.run(lambda: json_response(answers.whole(prompts)), counted=True)


async def _events(together: Together, each: int, answers: CompletionAnswers) -> AsyncGenerator[bytes]:
    for index in range(together.count):
        if echo := answers.echoed[index // each]:
            yield sse_event(answers.more(index, echo, []))
    streams = [TokenStream(answers.vocabulary) for _ in range(together.count)]
    async for index, piece in together:
        said = streams[index].push(piece)
        if piece.text or said:
            yield sse_event(answers.more(index, piece.text, said))
    prompts = together.by_prompt()
    replies = [reply for its in prompts for reply in its]
    check_finished(replies)
    for index, reply in enumerate(replies):
        if said := streams[index].finish(reply):
            yield sse_event(answers.more(index, "", said))
        yield sse_event(answers.last(index, reply))
    if answers.has_usage:
        yield sse_event(answers.usage(prompts))
    yield DONE


async def _start(body: CompletionRequest, state: State, who: Identity) -> Together:
    """Check all of it, cheap things first, and have it worked on."""
    check_model(body.model, state.settings)
    check_stream_options(body)
    if body.echo and body.logprobs is not None:
        raise APIError("echo with logprobs would need the prompt's, which are not told: leave one out", param="echo")
    params = to_params(
        state,
        max_tokens=_max_tokens(body, state),
        n=body.n,
        seed=body.seed,
        stop=body.stop,
        logit_bias=body.logit_bias,
        logprobs=body.logprobs,
        logprobs_field="logprobs",
        **sampling_fields(body),
    )
    given = listed(body.prompt)
    most = state.settings.limits.n
    if len(given) * len(params) > most:
        text = f"{len(given)} prompts with {len(params)} answers each are more answers than the {most} that are given"
        raise APIError(text, param="prompt")
    prompts = await state.answering.run(functools.partial(read_prompts, given, state, who.salt))
    return await _start_all(prompts, params, state)


async def _start_all(prompts: Sequence[Prepared], params: Sequence[SamplingParams], state: State) -> Together:
    started: list[Choices] = []
    try:
        for prompt in prompts:
            with about("prompt"):
                started.append(await state.answering.start(prompt, params))
    except BaseException:
        Together(started, len(params)).close()
        raise
    return Together(started, len(params))


def _max_tokens(body: CompletionRequest, state: State) -> int:
    if body.max_tokens is not None:
        return body.max_tokens
    return min(DEFAULT_MAX_TOKENS, state.settings.limits.max_tokens or DEFAULT_MAX_TOKENS)


def _answers(body: CompletionRequest, state: State, mark: Mark, vocabulary: Vocabulary) -> CompletionAnswers:
    options = body.stream_options
    return CompletionAnswers(
        mark,
        vocabulary,
        [_text(one, state) if body.echo else "" for one in listed(body.prompt)],
        has_logprobs=body.logprobs is not None,
        has_usage=options is not None and bool(options.include_usage),
    )


def _text(prompt: str | list[int], state: State) -> str:
    return prompt if isinstance(prompt, str) else state.processor.decode(prompt, skip_special_tokens=True)
