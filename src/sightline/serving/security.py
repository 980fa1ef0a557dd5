"""Who may come in: the Host a request names, the site it comes from, and the key it brings.

Each is a check of headers alone, made before a byte of the body is read. It knows no routes but those that need no key.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.serving.bodies import BodyLimit
from sightline.serving.head import HeadAsGet
from sightline.serving.logs import Observer, name_key
from sightline.serving.protocol import CROWDED
from sightline.serving.refusing import BROWSER_HEADERS, OnRejected, Refusal
from sightline.serving.routes.page import load_bundle
from sightline.serving.settings import Settings

if TYPE_CHECKING:
    from sightline.serving.state import State

__all__ = ["Guard", "Identity", "SecurityHeaders", "identity", "install_security", "is_address", "plain_host"]

_HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:@/\\]*)(?::[0-9]{0,5})?")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Identity:
    """Who asks. `salt` is the SHA-256 of the key, and empty without keys; `name` is what the log calls it."""

    salt: bytes = b""
    name: str | None = None


def identity(request: Request) -> Identity:
    """Who asks, as the guard found it."""
    found = request.scope["sightline.identity"]
    assert isinstance(found, Identity)
    return found


def install_security(app: FastAPI, state: State) -> None:
    """Put all that is checked of a request in front of `app`. The last one added is the first to see it."""
    settings, metrics = state.settings, state.metrics
    public = {"/", "/health", *load_bundle()}
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimit, limits=settings.limits, on_rejected=metrics.rejected)
    app.add_middleware(Guard, settings=settings, public=public, on_rejected=metrics.rejected)
    app.add_middleware(Observer, on_request=metrics.requested)
    app.add_middleware(SecurityHeaders)


class SecurityHeaders:
    """ASGI middleware: what browsers are told, whatever is answered. Never a CORS header."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in BROWSER_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class Guard:
    """ASGI middleware: the checks, in turn, and who it is that passed them.

    Args:
        public: paths that are read without a key.
        on_rejected: told why a request was refused.
    """

    def __init__(self, app: ASGIApp, settings: Settings, public: Collection[str], on_rejected: OnRejected):
        self._app, self._public, self._on_rejected = app, frozenset(public), on_rejected
        self._header_bytes = settings.limits.header_bytes
        self._hosts = frozenset(plain_host(name) for name in settings.allowed_hosts)
        self._names = frozenset(name for name in self._hosts if not is_address(name))
        self._keys = tuple(hashlib.sha256(key.encode()).digest() for key in settings.api_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            scope["sightline.identity"] = self._check(scope)
        except Refusal as refusal:
            await refusal.answer(self._on_rejected, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> Identity:
        headers = Headers(scope=scope)
        _check_room(scope)
        _check_size(scope, self._header_bytes)
        _check_host(headers, scope, self._hosts)
        if scope["method"] not in _SAFE_METHODS:
            _check_origin(headers, self._names)
        if not self._keys:
            return Identity()
        if scope["method"] in _SAFE_METHODS and scope["path"] in self._public:
            return Identity()
        found = _check_key(headers, self._keys)
        name_key(found.name)
        return found


def _check_room(scope: Scope) -> None:
    """The protocol marks requests of a connection too many; whether the server lives is answered to them, too."""
    if scope.get(CROWDED) and scope["path"] != "/health":
        text = "there are more connections than this server takes: come again later"
        raise Refusal("connections", text, 503, retry_after=1)


def _check_size(scope: Scope, most: int) -> None:
    """The protocol bounds headers that come in parts; those that came in one piece are whole before it can."""
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in scope["headers"])
    if size > most:
        raise Refusal("header_size", f"the request's headers are larger than {most} bytes", 431)


def _check_host(headers: Headers, scope: Scope, allowed: Collection[str]) -> None:
    """Against DNS rebinding: a page whose name was made to resolve to this machine still says that name in Host.

    A request without Host comes from no browser.
    """
    given = headers.get("host")
    if given is None:
        return
    name = _hostname(given)
    if name in allowed or name == "localhost" or _is_local(name, scope):
        return
    text = "the request's Host is no name of this server: start it with --allowed-hosts to add one"
    raise Refusal("host", text, 403, code="host_not_allowed")


def _is_local(name: str, scope: Scope) -> bool:
    """Whether it is an address of loopback, or the very one that the connection came in at."""
    try:
        address = ipaddress.ip_address(name)
        return address.is_loopback or address == _unmapped((scope.get("server") or ("",))[0])
    except ValueError:
        return False


def _unmapped(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def is_address(name: str) -> bool:
    """Whether a host, as `plain_host` gives it, is an address and no name; localhost is one of this machine's."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def _check_origin(headers: Headers, named: Collection[str]) -> None:
    """Against another site's forms and scripts: a browser says where a request comes from, unless it is this site.

    Another port of this machine is another site. `named` are hosts that a proxy may serve this one under.
    """
    origin = headers.get("origin")
    if origin is None:
        return
    try:
        there = urlsplit(origin)
        if there.netloc and (there.netloc.lower() == headers.get("host", "").lower() or there.hostname in named):
            return
    except ValueError:
        pass
    text = "the request comes from another site's page, and this server answers to its own alone"
    raise Refusal("origin", text, 403, code="origin_not_allowed")


def _check_key(headers: Headers, keys: Collection[bytes]) -> Identity:
    given = headers.getlist("authorization")
    scheme, _, key = (given[0] if len(given) == 1 else "").partition(" ")
    digest = hashlib.sha256(key.strip().encode("latin-1")).digest()
    # All of them, and digests: neither the time it takes nor what is compared tells anything of a key.
    matches = [hmac.compare_digest(digest, one) for one in keys]
    if scheme.lower() != "bearer" or not any(matches):
        text = "the API key is " + ("wrong" if given else "missing") + ": send it as Authorization: Bearer KEY"
        raise Refusal("key", text, 401, code="invalid_api_key")
    return Identity(digest, digest.hex()[:8])


def _hostname(host: str) -> str:
    """The name in a Host header, without its port; of what is no Host, all of it, which is no name."""
    found = _HOST.fullmatch(host)
    return plain_host(found[1]) if found else host


def plain_host(name: str) -> str:
    """A host in the form in which hosts are compared."""
    return name.strip("[]").lower().removesuffix(".")
