"""Pictures behind URLs, fetched from the hosts that the server's owner named and from nowhere else.

A URL is taken apart once, by a grammar that has one reading. Its name is looked up once, and the connection goes to the
very address that was checked. Each redirect starts from the beginning. Of HTTP there is one GET: no cookies, no
proxies, nothing compressed. What came is bytes; whether they are a picture, others find out.
"""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin

from sightline.serving.errors import APIError
from sightline.serving.public_address import is_public
from sightline.serving.settings import Limits

if TYPE_CHECKING:
    import httpx2

__all__ = ["Fetcher", "Target", "read_url", "resolve"]

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

# Printable ASCII without spaces, quotes, brackets, braces, ^, ` and the backslash, which browsers read as a slash.
# Whatever else a host could be (userinfo, brackets, percent signs, other alphabets) does not match.
_URL = re.compile(
    r"(https?)://([a-z0-9.-]{1,253})(?::([0-9]{1,5}))?([/?][!#-;=?-Z_a-z~\[\]|$]*)?", re.IGNORECASE | re.ASCII
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_URL_CHARS = 4096
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_TRIES = 4  # addresses of a host
_HEADERS = {
    "user-agent": "sightline",
    "accept": "image/png, image/jpeg, image/webp, image/gif",
    "accept-encoding": "identity",
}


class Target(NamedTuple):
    """A URL taken apart; `path` has the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The URL again."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """What a Host header says."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


class _Refused(Exception):
    """In one line, and in our own words: why there is no picture."""

    def __init__(self, text: str, status: int = 400):
        super().__init__(text)
        self.status = status


def read_url(url: str) -> Target:
    """Take a URL apart.

    Raises:
        ValueError: it is no plain http(s) URL with a host name in ASCII. Addresses, in digits of any base, are none.
    """
    whole, _, _ = url.partition("#")
    found = _URL.fullmatch(whole) if len(whole) <= _URL_CHARS else None
    if found is None:
        raise ValueError("it is no plain http(s) URL with a host name")
    scheme, host, port, path = found[1].lower(), found[2].lower(), found[3], found[4] or "/"
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError("its host is no host name")
    if _is_number(host):
        raise ValueError("its host is an address: only names are fetched from")
    return Target(scheme, host, int(port or _PORTS[scheme]), path if path.startswith("/") else f"/{path}")


def is_name(host: str) -> bool:
    """Whether pictures could be fetched from a host that is called so: by a name, in lower case, below another."""
    labels = host.split(".")
    return len(labels) > 1 and all(_LABEL.fullmatch(label) for label in labels) and not _is_number(host)


def _is_number(host: str) -> bool:
    """Whether a resolver would take it for an address, in digits of any base."""
    return re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]) is not None


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, by the system's resolver. Raises OSError where it has none."""
    look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_resolvers(), look_up)
    return [str(address[0]) for *_, address in found]


@dataclass
class Fetcher:
    """Fetches pictures from the hosts of one server's settings.

    Args:
        hosts: exact names, or `*.example.org` for all names below one; none: nothing is fetched.
        on_rejected: told why a request was refused.
        ports, resolve, is_public: for tests to change.
    """

    hosts: Collection[str]
    limits: Limits
    on_rejected: Callable[[str], None] = lambda reason: None
    ports: Collection[int] = (80, 443)
    resolve: Resolver = resolve
    is_public: Callable[[str], bool] = is_public
    under_way: int = 0

    async def fetch(self, url: str, param: str) -> bytes:
        """The bytes that `url` gives.

        Args:
            param: the field that the URL stands in, for the error.

        Raises:
            APIError: the URL is not allowed, its host has no public address, or nothing of the right size came in time
                (400, 413); or too many are being fetched (429).
        """
        if not self.hosts:
            text = f"{param} is a URL, and this server fetches none: send the picture as a data URI"
            raise APIError(text, param=param, code="image_url_not_allowed")
        if self.under_way >= self.limits.fetches:
            self.on_rejected("fetching")
            text = f"{self.under_way} pictures are being fetched: come again later"
            raise APIError(text, status=429, code="fetching", retry_after=1)
        self.under_way += 1
        try:
            async with asyncio.timeout(self.limits.url_seconds):
                return await self._follow(url)
        except TimeoutError:
            refused = _Refused(f"it took more than {self.limits.url_seconds:g} seconds")
        except _Refused as error:
            refused = error
        finally:
            self.under_way -= 1
        text, code = f"{param}: the picture cannot be fetched: {refused}", "image_url_failed"
        raise APIError(text, status=refused.status, param=param, code=code)

    async def _follow(self, url: str) -> bytes:
        before = ""
        for _ in range(self.limits.url_redirects + 1):
            target = self._allowed(url)
            if (before, target.scheme) == ("https", "http"):
                raise _Refused("it was redirected from https to http")
            found = await self._get(target)
            if isinstance(found, bytes):
                return found
            before, url = target.scheme, _joined(target.url, found)
        raise _Refused(f"it was redirected more than {self.limits.url_redirects} times")

    def _allowed(self, url: str) -> Target:
        try:
            target = read_url(url)
        except ValueError as error:
            raise _Refused(str(error)) from None
        labels = target.host.split(".")
        names = {target.host, *("*." + ".".join(labels[index:]) for index in range(1, len(labels)))}
        if names.isdisjoint(host.lower() for host in self.hosts):
            raise _Refused("this server does not fetch from its host")
        if target.port not in self.ports:
            raise _Refused("this server does not fetch from its port")
        return target

    async def _get(self, target: Target) -> bytes | str:
        """The bytes, or where they are said to be."""
        import httpx2

        for address in await self._addresses(target):
            try:
                return await self._get_from(target, address)
            except httpx2.ConnectError:
                continue
            except (httpx2.HTTPError, httpx2.InvalidURL):
                break
        raise _Refused("its host could not be reached, or speaks no HTTP")

    async def _addresses(self, target: Target) -> list[str]:
        """Those to try, in order. One that is not public spoils all: a name of the open internet has none."""
        try:
            found = await self.resolve(target.host, target.port)
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise _Refused("its host is not known")
        if not all(map(self.is_public, found)):
            raise _Refused("its host has an address that is not public")
        return sorted(found, key=lambda address: ":" in address)[:_TRIES]

    async def _get_from(self, target: Target, address: str) -> bytes | str:
        import httpx2

        request = httpx2.Request(
            "GET",
            httpx2.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode()),
            headers={"host": target.authority, **_HEADERS},
            # The deadline is for all of it, so that no single wait needs one.
            extensions={"sni_hostname": target.host, "timeout": dict.fromkeys(("connect", "read", "write", "pool"))},
        )
        async with httpx2.AsyncHTTPTransport(verify=await asyncio.to_thread(_tls), trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                return await self._read(response)
            finally:
                await response.aclose()

    async def _read(self, response: httpx2.Response) -> bytes | str:
        if response.status_code in _REDIRECTS:
            return response.headers.get("location", "")
        if response.status_code != 200:
            raise _Refused(f"its host answered with status {response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _Refused("its host compressed it")
        most, length = self.limits.image_bytes, response.headers.get("content-length", "")
        too_large = _Refused(f"it is larger than the {most} bytes that this server takes", 413)
        if re.fullmatch("[0-9]+", length) and int(length[:20]) > most:
            raise too_large
        data = bytearray()
        assert not isinstance(response.stream, Iterable)
        async for chunk in response.stream:
            data += chunk
            if len(data) > most:
                raise too_large
        return bytes(data)


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        raise _Refused("it was redirected to what is no URL") from None


@functools.cache
def _resolvers() -> ThreadPoolExecutor:
    """Threads of their own: a name that nobody answers for keeps one for longer than the request is waited for."""
    return ThreadPoolExecutor(8, "sightline-resolver")


@functools.cache
def _tls() -> ssl.SSLContext:
    """Certificates as the system trusts them; reading them takes a while, so only once and in a thread."""
    import httpx2

    return httpx2.create_ssl_context(trust_env=False)
