"""Server-sent events: how one is written, and a response that sends them until they end or nobody listens.

Its headers go out with the first event, so what can be refused has to be refused before it is made.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sightline.serving.answering import ClientGone, unless_gone
from sightline.serving.errors import APIError

__all__ = ["DONE", "EventStream", "error_event", "sse_event", "stream_documentation"]

log = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
# They end a line for some readers of events, but JSON leaves them as they are.
_LINE_ENDS = str.maketrans({"\x85": r"\u0085", "\u2028": r"\u2028", "\u2029": r"\u2029"})


def sse_event(data: str, name: str | None = None) -> bytes:
    """One event; `data` is JSON on one line."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data.translate(_LINE_ENDS)}\n\n".encode()


def error_event(error: APIError) -> bytes:
    """How chats and completions tell of a failure after their headers: OpenAI's clients raise it."""
    return sse_event(json.dumps(error.body()))


def stream_documentation(chunk: str) -> dict[str, Any]:
    """For a route's `responses`: that it may answer with events, each of them a `chunk`."""
    text = f"Each event is a {chunk} as JSON, or an error that ends the stream; the last one is [DONE]."
    return {"content": {"text/event-stream": {"schema": {"type": "string", "description": text}}}}


class EventStream(StreamingResponse):
    """Sends `events`, and calls `close` when they are over, when one of them fails, and when the client goes away.

    Args:
        on_error: the event that tells of a failure; it is the last one.
    """

    def __init__(self, events: AsyncGenerator[bytes], close: Callable[[], None], on_error: Callable[[APIError], bytes]):
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        self._events, self._close = _to_the_end(events, on_error), close
        super().__init__(self._events, headers=headers, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # Waiting for the next event would not notice that nobody does.
            await unless_gone(Request(scope, receive), self.stream_response(send))
        except ClientGone:
            pass
        finally:
            self._close()
            await self._events.aclose()


async def _to_the_end(events: AsyncGenerator[bytes], on_error: Callable[[APIError], bytes]) -> AsyncGenerator[bytes]:
    try:
        async with aclosing(events):
            async for one in events:
                yield one
    except APIError as error:
        yield on_error(error)
    except Exception as error:
        log.error("an answer failed while it was sent", exc_info=error)
        yield on_error(APIError("the server failed on this request", status=500))
