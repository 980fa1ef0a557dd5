"""HTTP/1.1 on one connection, with a clock: uvicorn's protocol, where every wait for a client has an end.

A request arrives whole in time or is cut off; so is a client that does not read what it asked for. What a request
asks for is the application's business.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import h11
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from sightline.serving.errors import APIError
from sightline.serving.logs import log_refused
from sightline.serving.refusing import BROWSER_HEADERS, OnRejected, Refusal
from sightline.serving.settings import Limits

__all__ = ["CROWDED", "KEEP_ALIVE_SECONDS", "Protocol"]

# Of a request's scope, where its connection is one too many: who checks requests refuses it.
CROWDED = "sightline.crowded"

# Longer than the clients' and proxies' own, which are a minute at most: a connection is theirs to close, since one that
# is closed while a request is on its way fails that request.
KEEP_ALIVE_SECONDS = 75
# For an application to answer what did not arrive in time, and for a client to read why it was refused.
_GRACE = 1.0
# A request that has arrived: what follows it is the next one.
_WHOLE = (h11.DONE, h11.MUST_CLOSE, h11.MIGHT_SWITCH_PROTOCOL)
# Beyond the limit, so many connections are still told so.
_TOLD = 64
# Of a body: so many chunks, and one more for each so many bytes. Each costs the server a hundred times what it costs
# who sends it, and while they are taken apart everyone waits.
_CHUNKS, _CHUNK_BYTES = 4096, 256


class _SmallChunks(h11.RemoteProtocolError):
    """A body in more chunks than its length explains."""


class Protocol(H11Protocol):
    """One connection.

    Args:
        limits: of time and size.
        on_rejected: told why a request was refused.
        options: uvicorn's.
    """

    def __init__(self, limits: Limits, on_rejected: OnRejected, **options: Any):
        super().__init__(**options)
        self._limits, self._on_rejected = limits, on_rejected
        self._arrival: asyncio.TimerHandle | None = None  # by then the request is whole
        self._delivery: asyncio.TimerHandle | None = None  # by then the client has read some more
        self._refused = False
        self._chunks = self._bytes = 0  # of the body under way
        self._next_event, self.conn.next_event = self.conn.next_event, self._counted  # type: ignore[method-assign]

    def _counted(self) -> Any:
        """The next event, unless the body is in too many chunks."""
        event = self._next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks, self._bytes = self._chunks + 1, self._bytes + len(event.data)
            if self._chunks > _CHUNKS + self._bytes // _CHUNK_BYTES:
                raise _SmallChunks("the chunks are too small")
        return event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, unless there are too many: then what it asks is refused, or it is not even heard."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        excess = len(self.connections) - self._limits.connections
        if excess > _TOLD:
            self._on_rejected("connections")
            transport.abort()
        elif excess > 0:
            self.app = _Full(self.app)
        self._watch_arrival()

    def connection_lost(self, exc: Exception | None) -> None:
        """The application hears that nobody is there, and no timer stays behind."""
        super().connection_lost(exc)
        del self.conn.next_event  # the two would hold each other
        self._unset_keepalive_if_required()
        self._stop_arrival()
        self._stop_delivery()

    def data_received(self, data: bytes) -> None:
        """Read on. A client that is refused, or that sends its next request before the answer, is not listened to."""
        if self._refused:
            return
        if self.conn.their_state in _WHOLE:
            self._leave_pipelined()
            return
        super().data_received(data)
        if self.conn.their_state in _WHOLE:
            if self.conn.trailing_data[0]:
                self._leave_pipelined()
            self.flow.resume_reading()  # or nobody would see that the client goes away
        self._watch_arrival()

    def on_response_complete(self) -> None:
        """Wait for the next request, and until the client has read the last of this answer: closing waits for that."""
        super().on_response_complete()
        self._watch_arrival()
        if self.transport.get_write_buffer_size():
            self._watch_delivery()

    def pause_writing(self) -> None:
        """The client reads more slowly than the answer is written; it must not stop altogether."""
        super().pause_writing()
        self._watch_delivery()

    def _watch_delivery(self) -> None:
        """By then it has read some more, however little, or it is cut."""
        self._stop_delivery()
        unread = self.transport.get_write_buffer_size()
        self._delivery = self.loop.call_later(self._limits.receive_seconds, self._on_unread, unread)

    def _on_unread(self, before: int) -> None:
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._delivery = None
        elif unread < before:
            self._watch_delivery()
        else:
            self._abort("unread")

    def resume_writing(self) -> None:
        """It has read. What is left of an answer that is over stays watched."""
        super().resume_writing()
        if self.cycle is None or not self.cycle.response_complete:
            self._stop_delivery()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP, or has too long a header, is refused; uvicorn calls this where it caught h11's error."""
        error = sys.exc_info()[1]
        if isinstance(error, _SmallChunks):
            self._refuse(Refusal("chunks", "the body comes in too many small chunks: send larger ones", 400))
        elif getattr(error, "error_status_hint", 400) == 431:
            text = f"the request's headers are larger than {self._limits.header_bytes} bytes"
            self._refuse(Refusal("header_size", text, 431))
        else:
            self._refuse(Refusal("protocol", "the request is not valid HTTP/1.1", 400))

    def _leave_pipelined(self) -> None:
        """Answer what is asked, then close (RFC 9112, 9.3.2: who sent more asks again). uvicorn would stop reading."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _watch_arrival(self) -> None:
        """A request under way has its deadline from its first byte on, and a connection from its beginning."""
        if self._refused:
            return
        state = self.conn.their_state
        idle = state is h11.IDLE and not self.conn.trailing_data[0]
        first = self.cycle is None
        if state is h11.SEND_BODY or (state is h11.IDLE and (first or not idle)):
            if self._arrival is None:
                self._arrival = self.loop.call_later(self._limits.receive_seconds, self._on_late)
            return
        self._stop_arrival()
        if idle and self.timeout_keep_alive_task is None:  # as after a body that nobody read
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _on_late(self) -> None:
        self._arrival = None
        if self.conn.their_state is h11.SEND_BODY:
            if self.cycle.response_complete:
                self._abort("slow")
            else:  # the application waits for the body, and says so
                self._arrival = self.loop.call_later(_GRACE, self._abort, "slow")
        elif self.conn.trailing_data[0]:
            text = f"the request did not arrive within {self._limits.receive_seconds:g} seconds"
            self._refuse(Refusal("slow", text, 408))
        else:
            self.transport.close()  # it never asked for anything

    def _refuse(self, refusal: Refusal) -> None:
        """Say why, and close when the client has had time to read it: closed at once, its kernel would drop it."""
        self._on_rejected(refusal.reason)
        if self.conn.our_state is h11.IDLE:  # a request that has begun has its own line
            log_refused(refusal.error.status)
        self._refused = True
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # another answer is on its way
            self.transport.abort()
            return
        if self.conn.our_state is h11.SEND_RESPONSE:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        for event in _response(refusal.error):
            self.transport.write(self.conn.send(event) or b"")
        self._stop_arrival()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._arrival = self.loop.call_later(_GRACE, self.transport.abort)

    def _abort(self, reason: str) -> None:
        self._on_rejected(reason)
        self.transport.abort()

    def _stop_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _stop_delivery(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None


class _Full:
    """The application of a connection too many, which is closed after an answer: kept open, it would be so for ever."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app({**scope, CROWDED: True}, receive, closing)


def _response(error: APIError) -> list[h11.Event]:
    body = json.dumps(error.body()).encode()
    headers = {**BROWSER_HEADERS, **error.headers()} | {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    start = h11.Response(status_code=error.status, headers=list(headers.items()), reason=STATUS_PHRASES[error.status])
    return [start, h11.Data(data=body), h11.EndOfMessage()]
