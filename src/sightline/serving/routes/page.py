"""The chat page: the files of its built bundle as they were at the start, and no others.

They are read once, so no path of a request ever reaches a file system. What the page does is `web/`'s business.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

if TYPE_CHECKING:
    from sightline.serving.state import State

__all__ = ["PAGE_POLICY", "Asset", "load_bundle", "router"]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MISSING = (
    "The chat page is not part of this installation: `make page` in a checkout of the sources builds it.\n"
    "The API is there: see /openapi.json.\n"
)
# What the system's table of types may not know, or know differently.
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webp": "image/webp"}


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    data: bytes
    media_type: str
    etag: str
    cache_control: str


def load_bundle(folder: Traversable | None = None) -> dict[str, Asset]:
    """The files of the bundle by their paths, `index.html` as `/`; none if it was not built."""
    folder = folder or resources.files("sightline.serving") / "page"
    if not (folder / "index.html").is_file():
        return {}
    found = {f"/{name}": _asset(name, data) for name, data in _files(folder, "")}
    return {"/": found.pop("/index.html"), **found}


def _files(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            found += _files(entry, f"{prefix}{entry.name}/")
        elif not entry.name.startswith("."):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _asset(name: str, data: bytes) -> Asset:
    suffix = f".{name.rpartition('.')[2]}"
    kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    # The names of assets change with their contents.
    lasting = "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
    return Asset(data, kind, f'"{hashlib.sha256(data).hexdigest()[:32]}"', lasting)


def router(state: State) -> APIRouter:
    """A route for each file of the bundle, or one that says that there is none."""
    found = APIRouter(include_in_schema=False)
    bundle = load_bundle()
    for path, asset in bundle.items():
        found.add_api_route(path, _sender(asset), methods=["GET"])
    if not bundle:
        found.add_api_route("/", _say_missing, methods=["GET"])
    return found


def _sender(asset: Asset) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    headers = {"ETag": asset.etag, "Cache-Control": asset.cache_control, "Content-Security-Policy": PAGE_POLICY}

    async def send(request: Request) -> Response:
        if _knows(request, asset.etag):
            return Response(status_code=304, headers=headers)
        return Response(asset.data, headers=headers, media_type=asset.media_type)

    return send


def _knows(request: Request, etag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return given == "*" or etag in [one.strip().removeprefix("W/") for one in given.split(",")]


async def _say_missing() -> Response:
    return Response(_MISSING, 404, media_type="text/plain")
