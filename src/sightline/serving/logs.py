"""What the server writes down: one JSON line a request, and errors, never what was asked or answered.

A request's entry follows it through its tasks, so that whoever counts its tokens need not know who asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.serving.errors import APIError, error_response

if TYPE_CHECKING:  # the server's process has a port before torch is there
    from sightline.engine.request import Usage

__all__ = ["Entry", "JsonLines", "Observer", "add_usage", "configure_logs", "log_refused", "name_key"]

access = logging.getLogger("sightline.access")
log = logging.getLogger(__name__)

# (route, method, status, seconds) of a request that is over.
OnRequest = Callable[[str, str, int, float], None]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CLIENT_GONE = 499


@dataclass
class Entry:
    """What the log will say of a request."""

    request_id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    started: float = field(default_factory=time.perf_counter)
    status: int | None = None
    key: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


_current: ContextVar[Entry | None] = ContextVar("sightline_request", default=None)


def add_usage(usage: Usage) -> None:
    """Let the entry of the request that is being answered here count these tokens, too."""
    if (entry := _current.get()) is not None:
        entry.prompt_tokens += usage.prompt_tokens
        entry.cached_tokens += usage.cached_tokens
        entry.completion_tokens += usage.completion_tokens


def name_key(name: str | None) -> None:
    """Let the entry of the request that is being answered here say whose it is."""
    if (entry := _current.get()) is not None:
        entry.key = name


class Observer:
    """ASGI middleware, the outermost: names each request, logs it when it is over, and turns a failure into a 500.

    Args:
        on_request: told of each request that is over: its route, method, status and seconds.
    """

    def __init__(self, app: ASGIApp, on_request: OnRequest):
        self._app, self._on_request = app, on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = Entry()
        token = _current.set(entry)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = entry.request_id
            await send(message)

        try:
            await self._answer(entry, scope, receive, named)
        finally:
            _current.reset(token)
            self._write(entry, scope)

    async def _answer(self, entry: Entry, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # The server stops, and has waited for long enough. One that has begun is cut off by returning.
            if entry.status is None:
                stopping = APIError("the server is stopping: ask another one", status=503, code="stopping")
                await error_response(stopping)(scope, receive, send)
        except Exception as error:
            if entry.status is not None:
                raise
            log.error("a request failed", exc_info=error)
            await error_response(APIError("the server failed on this request", status=500))(scope, receive, send)

    def _write(self, entry: Entry, scope: Scope) -> None:
        seconds = time.perf_counter() - entry.started
        # Only words of our own: a path or a method that a stranger made up would be a series of its own.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        status = _CLIENT_GONE if entry.status is None else entry.status
        self._on_request(route, method, status, seconds)
        _write(entry, method, route, status, seconds)


def log_refused(status: int) -> None:
    """The line of what could not be read as a request, and was answered so."""
    _write(Entry(), "OTHER", "unmatched", status, 0.0)


def _write(entry: Entry, method: str, route: str, status: int, seconds: float) -> None:
    said = {
        "request_id": entry.request_id,
        "method": method,
        "route": route,
        "status": status,
        "seconds": round(seconds, 4),
        "prompt_tokens": entry.prompt_tokens,
        "cached_tokens": entry.cached_tokens,
        "completion_tokens": entry.completion_tokens,
        "key": entry.key,
    }
    access.info("%s %s %d", method, route, status, extra={"said": said})


class JsonLines(logging.Formatter):
    """A record as one line of JSON.

    Args:
        messages: whether to write what an error says, which may quote what was asked; else only its class and where
            it was raised.
    """

    def __init__(self, messages: bool = False):
        super().__init__()
        self._messages = messages

    def format(self, record: logging.LogRecord) -> str:
        """Time, level and logger, then what a request's entry says, or the message."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        said = getattr(record, "said", None)
        line |= {"message": record.getMessage()} if said is None else said
        if record.exc_info and record.exc_info[1] is not None:
            if self._messages:
                line["traceback"] = self.formatException(record.exc_info)
            else:
                line["message"] = line["message"].partition("\n")[0]  # asyncio puts the error's text behind it
                line["traceback"] = _without_messages(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def _without_messages(error: BaseException) -> str:
    """The classes of an error and of those behind it, the first one first, and where each was raised."""
    told: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        told.append("".join(traceback.format_tb(at.__traceback__)) + type(at).__name__)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\n".join(reversed(told))


# What the parser of uploads warns of is answered to its client, and quotes the body.
_LEVELS = {
    "sightline": logging.INFO,
    "uvicorn.error": logging.ERROR,
    "asyncio": logging.ERROR,
    "python_multipart": logging.CRITICAL,
}


def configure_logs(stream: TextIO | None = None, messages: bool = False) -> None:
    """Let this process write its requests and errors to `stream` (stderr), as lines of JSON.

    Args:
        messages: as `JsonLines`.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(messages))
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
