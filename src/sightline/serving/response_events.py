"""A response of `/v1/responses` from its first moment to its last, and the events that tell of it.

It is told what the answer says, and knows neither HTTP nor the engine's queues.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from sightline.engine.request import Piece, Reply, SamplingParams
from sightline.engine.request import Usage as Counts
from sightline.serving.errors import APIError
from sightline.serving.logprobs import Said, TokenStream, Vocabulary, clamped, said_of
from sightline.serving.schemas.responses import (
    DeltaEvent,
    Event,
    Failure,
    Incomplete,
    InputTokensDetails,
    ItemEvent,
    OutputLogprob,
    OutputMessage,
    OutputText,
    OutputTokensDetails,
    OutputTopLogprob,
    PartEvent,
    Response,
    ResponseEvent,
    ResponseRequest,
    ResponseUsage,
    TextEvent,
)
from sightline.serving.usage import check_finished, new_id

__all__ = ["Writing", "response_usage"]

_Ending = Literal["response.completed", "response.incomplete"]


def response_usage(counts: Counts) -> ResponseUsage:
    """Counts of tokens, as this API names them."""
    return ResponseUsage(
        input_tokens=counts.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=counts.cached_tokens, image_tokens=counts.image_tokens),
        output_tokens=counts.completion_tokens,
        output_tokens_details=OutputTokensDetails(),
        total_tokens=counts.prompt_tokens + counts.completion_tokens,
    )


class Writing:
    """The response to `body`, whose answer is chosen by `params`: as it begins, as it goes on, and as it ends."""

    def __init__(self, body: ResponseRequest, params: SamplingParams, vocabulary: Vocabulary):
        self._begun = _begun(body, params)
        self._item = OutputMessage(id=new_id("msg_"), status="in_progress", content=[])
        self._vocabulary = vocabulary
        self._tokens = TokenStream(vocabulary)
        self._said: list[OutputLogprob] = []
        self._numbers = itertools.count()

    def whole(self, reply: Reply) -> Response:
        """The response, all at once. Raises APIError where the server stopped before it was whole."""
        return self._ended(reply, self._logprobs(said_of(reply, self._vocabulary)))

    def begin(self) -> Iterator[Event]:
        """The events before the first piece."""
        yield ResponseEvent(type="response.created", response=self._begun, **self._next())
        yield ResponseEvent(type="response.in_progress", response=self._begun, **self._next())
        yield ItemEvent(type="response.output_item.added", item=self._item, **self._next())
        part = OutputText(text="")
        yield PartEvent(type="response.content_part.added", part=part, item_id=self._item.id, **self._next())

    def go_on(self, piece: Piece) -> Iterator[Event]:
        """The events of some more of the answer."""
        yield from self._delta(piece.text, self._tokens.push(piece))

    def end(self, reply: Reply) -> Iterator[Event]:
        """The events after the last piece. Raises as `whole`."""
        yield from self._delta("", self._tokens.finish(reply))
        response = self._ended(reply, self._said)
        (item,) = response.output
        (part,) = item.content
        yield TextEvent(text=part.text, logprobs=part.logprobs, item_id=item.id, **self._next())
        yield PartEvent(type="response.content_part.done", part=part, item_id=item.id, **self._next())
        yield ItemEvent(type="response.output_item.done", item=item, **self._next())
        completed = response.status == "completed"
        kind: _Ending = "response.completed" if completed else "response.incomplete"
        yield ResponseEvent(type=kind, response=response, **self._next())

    def fail(self, error: APIError) -> Event:
        """The last event of an answer that failed."""
        code: Literal["server_error", "invalid_prompt"] = "server_error" if error.status >= 500 else "invalid_prompt"
        failure = Failure(code=code, message=error.message, param=error.param)
        failed = self._begun.model_copy(update={"status": "failed", "error": failure})
        return ResponseEvent(type="response.failed", response=failed, **self._next())

    def _next(self) -> dict[str, int]:
        return {"sequence_number": next(self._numbers)}

    def _delta(self, text: str, said: Sequence[Said]) -> Iterator[Event]:
        logprobs = self._logprobs(said)
        self._said += logprobs
        if text or logprobs:
            yield DeltaEvent(delta=text, logprobs=logprobs, item_id=self._item.id, **self._next())

    def _ended(self, reply: Reply, logprobs: list[OutputLogprob]) -> Response:
        check_finished([reply])
        whole = reply.finish_reason == "stop"
        text = OutputText(text=reply.text, logprobs=logprobs)
        status = "completed" if whole else "incomplete"
        return self._begun.model_copy(
            update={
                "status": status,
                "completed_at": int(time.time()) if whole else None,
                "incomplete_details": None if whole else Incomplete(reason="max_output_tokens"),
                "output": [self._item.model_copy(update={"status": status, "content": [text]})],
                "usage": response_usage(reply.usage),
            }
        )

    def _logprobs(self, said: Sequence[Said]) -> list[OutputLogprob]:
        return [
            OutputLogprob(
                **self._token(one.logprob.token, one.logprob.logprob),
                top_logprobs=[OutputTopLogprob(**self._token(token, value)) for token, value in one.logprob.top],
            )
            for one in said
        ]

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        read = self._vocabulary
        return {"token": read.text_of(token), "bytes": list(read.bytes_of(token)), "logprob": clamped(logprob)}


def _begun(body: ResponseRequest, params: SamplingParams) -> Response:
    asked = body.text.format if body.text is not None else None
    return Response(
        id=new_id("resp_"),
        created_at=int(time.time()),
        status="in_progress",
        model=body.model,
        output=[],
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        metadata=body.metadata or {},
        temperature=params.temperature,
        top_p=params.top_p,
        top_logprobs=params.logprobs or 0,
        text={"format": {"type": "text"} if asked is None else asked.model_dump(by_alias=True, exclude_unset=True)},
    )
