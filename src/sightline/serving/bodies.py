"""Bodies of requests: bounded while they arrive, and JSON without the odd corners that parsers disagree about.

What a body says is the routes' business. Nothing here recurses, and nothing is parsed before it is known to be small.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.serving.errors import APIError, short_name
from sightline.serving.refusing import OnRejected, Refusal
from sightline.serving.settings import Limits

__all__ = ["BodyLimit", "StrictRoute", "parse_json"]

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# Largest bodies that are held at once: many clients must not fill the memory together, either.
_HELD = 16
# Of a request's JSON: what is wrong with each of them is worded before the answer, while all others wait.
_PARTS = 40_000


class BodyLimit:
    """ASGI middleware: a body is read whole, in time and within bounds, before the application sees the request.

    Args:
        on_rejected: told why a request was refused.
    """

    def __init__(self, app: ASGIApp, limits: Limits, on_rejected: OnRejected):
        self._app, self._limits, self._on_rejected = app, limits, on_rejected
        self._held = 0  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(self, _declared(scope))
        try:
            whole = await self._read(body, receive)
            if whole is not None:  # else the client went away
                await self._app(scope, _replay(whole, receive), send)
        except Refusal as refusal:
            await refusal.answer(self._on_rejected, scope, receive, send)
        finally:
            body.drop()

    async def _read(self, body: _Body, receive: Receive) -> bytes | None:
        seconds = self._limits.receive_seconds
        chunks: list[bytes] = []
        body.check()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    chunks.append(message.get("body", b""))
                    body.grow(len(chunks[-1]))
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise Refusal("slow", f"the body did not arrive within {seconds:g} seconds", 408) from None

    def take(self, count: int, size: int) -> None:
        """Hold `count` more bytes for a body of `size`, unless that is too much of it or beside the others."""
        if size > self._limits.body_bytes:
            text = f"the body is larger than the {self._limits.body_bytes} bytes that this server takes"
            raise Refusal("body_size", f"{text}: send fewer or smaller pictures", 413)
        if self._held + count > _HELD * self._limits.body_bytes:
            text = "the server holds as much of others' requests as it can: come again later"
            raise Refusal("bodies", text, 429, retry_after=1)
        self._held += count

    def give_back(self, count: int) -> None:
        """Those bytes are held no more."""
        self._held -= count


class _Body:
    """How much of a body there is, and how much is reserved for it."""

    def __init__(self, limit: BodyLimit, declared: int):
        self._limit, self._declared = limit, declared
        self._size = self._reserved = 0

    def check(self) -> None:
        """Whether what the header says is too much. Only what comes is reserved: a promise costs a client nothing."""
        self._limit.take(0, self._declared)

    def grow(self, count: int) -> None:
        """So much has come."""
        self._size += count
        self._reserve(self._size)

    def drop(self) -> None:
        """Nobody holds it any more."""
        self._limit.give_back(self._reserved)
        self._reserved = 0

    def _reserve(self, size: int) -> None:
        if size > self._reserved:
            self._limit.take(size - self._reserved, size)
            self._reserved = size


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _declared(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else 0  # the protocol has seen to it


def _replay(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body in one piece, then what comes, which is that the client goes away."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


class StrictRoute(APIRoute):
    """A route whose body, if it has one, is JSON in the strict sense (`parse_json`), and says so."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, which finds the JSON already parsed: an error of ours would become another there."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def strict(request: Request) -> Response:
            _check_type(request.headers)
            _check_query(request)
            if body := await request.body():
                request._json = parse_json(body, request.app.state.sightline.settings.limits)
            return await handle(request)

        return strict


def _check_query(request: Request) -> None:
    """A field in the address is as unknown as one in the body."""
    if request.query_params:
        name = short_name(next(iter(request.query_params)))
        text = f"{name} stands in the address, where this path takes no fields: send it in the body"
        raise APIError(text, param=name, code="unknown_parameter")


def _check_type(headers: Headers) -> None:
    given = headers.getlist("content-type")
    kind, charset = _type_of(given[0] if given else "")
    if len(given) != 1 or kind != "application/json" or charset not in (None, "utf-8", "utf8"):
        raise APIError("the body has to be JSON in UTF-8: send it with Content-Type: application/json", status=415)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise APIError("the body is compressed: send it without Content-Encoding", status=415)


def _type_of(header: str) -> tuple[str, str | None]:
    """A content type and its charset, in small letters."""
    kind, options = parse_options_header(header)
    charset = options.get(b"charset")
    return kind.decode("latin-1").lower(), None if charset is None else charset.decode("latin-1").lower()


def parse_json(body: bytes, limits: Limits) -> Any:
    """What a JSON text says. No NaN and nothing beyond a float, no lone surrogates, no name twice in an object, and no
    deeper than the limits say.

    Raises:
        APIError: it is not JSON, or too deep (400), or has more parts than any request needs (413).
    """
    # Each part takes a hundred times the memory of its text, so they are counted in that: never too few, and commas
    # and brackets in a prompt, which is limited too, leave the bound far above what is needed.
    parts = sum(body.count(mark) for mark in (b",", b"[", b"{"))
    if parts > 100_000 + 2 * limits.prompt_chars:
        raise _too_many(parts)
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise APIError(_where(str(error))) from None
    _check_values(value, limits.json_depth)
    _check_names(body)
    return value


def _check_names(body: bytes) -> None:
    """Which of two fields of a name counts is what parsers disagree about."""
    try:
        json.loads(body, object_pairs_hook=_object)
    except ValueError:  # Python's bound on the digits of a number, which others do not have
        raise APIError("the body has a number with too many digits") from None


def _object(pairs: list[tuple[str, Any]]) -> None:
    names = set[str]()
    for name, _ in pairs:
        if name in names:
            param = short_name(name)
            raise APIError(f"the body has two fields {param} in one object: give it once", param=param)
        names.add(name)


def _too_many(parts: int) -> APIError:
    return APIError(f"the body has {parts} parts, which no request needs: send less", status=413)


def _where(text: str) -> str:
    if "recursion limit" in text:
        return "the body's JSON is nested too deeply"
    if "number out of range" in text:
        return "the body has a number with too many digits"
    place = re.search(r"at (line \d+ column \d+)$", text)
    return "the body is not JSON in UTF-8" + (f": see {place[1]}" if place else "")


def _check_values(value: Any, depth: int) -> None:
    """Level by level, so that no depth is a depth of calls."""
    level, count = [value], 0
    while level:
        count += len(level)
        if count > _PARTS:
            raise _too_many(count)
        if any(isinstance(one, float) and not math.isfinite(one) for one in level):
            raise APIError("the body has a number that is too large for a float")
        inner = [one for one in level if isinstance(one, (dict, list))]
        if inner and not depth:
            raise APIError("the body's JSON is nested too deeply")
        level = [child for one in inner for child in (one.values() if isinstance(one, dict) else one)]
        depth -= 1
