"""A site on loopback, and what comes of a picture's URL where every name leads there."""

import asyncio
import contextlib

from sightline.serving.errors import APIError
from sightline.serving.image_urls import Fetcher
from sightline.serving.settings import Limits

PICTURE = b"\x89PNG and so on"


def answer(body=PICTURE, status="200 OK", length=None, **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location, status="302 Found"):
    return answer(b"", status, Location=location)


class Site:
    """A listener on loopback that answers by path, and keeps what it was asked."""

    def __init__(self, pages):
        self.pages, self.requests, self.lookups, self.tasks = pages, [], [], []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self.tasks)

    async def _serve(self, reader, writer):
        self.tasks.append(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            page = self.pages[self.requests[-1].split()[1]]
            async for piece in page() if callable(page) else _once(page):
                writer.write(piece)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def resolve(self, host, port):
        self.lookups.append(host)
        return ["127.0.0.1"]


def anything(address):
    return True


async def _once(page):
    yield page


def fetch(pages, url="http://pictures.example.org:{port}/a.png", hosts=("pictures.example.org",), **options):
    """What comes of `url` where every name leads to `pages`, and what was asked there."""
    limits = Limits(**{name: options.pop(name) for name in ("image_bytes", "url_seconds", "queue") if name in options})

    async def main():
        async with Site(pages) as site:
            if "resolve" in options:
                site.resolve = options.pop("resolve")
            ports = options.pop("ports", (site.port,))
            settings = {"is_public": lambda address: address == "127.0.0.1", **options}
            fetcher = Fetcher(hosts, limits, ports=ports, resolve=site.resolve, **settings)
            try:
                found = await fetcher.fetch(url.replace("{port}", str(site.port)), "image_url")
            except APIError as error:
                found = error
            assert fetcher.under_way == 0
            return found, site

    return asyncio.run(main())


def refusal(*args, status=400, **options):
    error, site = fetch(*args, **options)
    assert isinstance(error, APIError), error
    assert (error.status, error.param) == (status, "image_url")
    assert "127.0.0.1" not in error.message
    assert "\n" not in error.message
    return error.message, site
