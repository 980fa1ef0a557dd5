"""`POST /v1/completions`: texts that the model goes on from, whole or as they are written.

The older API, without a template and without pictures. Like `chat.py` it joins what others do.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from fastapi import APIRouter, Request

from sightline.serving.answering import Question
from sightline.serving.bodies import StrictRoute
from sightline.serving.choices import Choices
from sightline.serving.completion_answers import CompletionAnswers
from sightline.serving.errors import ERRORS, APIError
from sightline.serving.logprobs import Vocabulary
from sightline.serving.messages import about
from sightline.serving.plain_prompts import check_prompts, listed, read_prompts
from sightline.serving.responding import respond
from sightline.serving.sampling import check_stream_options, sampling_fields, to_params
from sightline.serving.schemas.completions import Completion, CompletionRequest
from sightline.serving.security import Identity, identity
from sightline.serving.sse import stream_documentation
from sightline.serving.state import State
from sightline.serving.usage import Mark, check_model, fingerprint, new_id

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
        mark, options = Mark(new_id("cmpl-"), int(time.time()), body.model, print_), body.stream_options
        answers = CompletionAnswers(
            mark,
            vocabulary,
            prompts=len(listed(body.prompt)),
            each=body.n or 1,
            echo=functools.partial(_echo, body, state),
            has_logprobs=body.logprobs is not None,
            has_usage=options is not None and bool(options.include_usage),
        )
        start = functools.partial(_start, body, state, identity(request))
        return await respond(request, state, answers, bool(body.stream), start)

    return routes


async def _start(body: CompletionRequest, state: State, who: Identity) -> Choices:
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
    check_prompts(given, state.settings.limits)

    async def read() -> Question:
        return Question(await state.answering.run(functools.partial(read_prompts, given, state, who.salt)))

    with about("prompt"):
        return await state.answering.start(params, read, prompts=len(given), salt=who.salt)


def _max_tokens(body: CompletionRequest, state: State) -> int:
    if body.max_tokens is not None:
        return body.max_tokens
    return min(DEFAULT_MAX_TOKENS, state.settings.limits.max_tokens or DEFAULT_MAX_TOKENS)


def _echo(body: CompletionRequest, state: State, number: int) -> str:
    prompt = listed(body.prompt)[number]
    if not body.echo:
        return ""
    return prompt if isinstance(prompt, str) else state.processor.decode(prompt, skip_special_tokens=True)
