"""The application: every route, behind what keeps strangers out. What a route does is its own file's business."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response

import sightline
from sightline.serving.answering import ClientGone
from sightline.serving.errors import DEFAULT_ERROR, ERRORS, install_error_handlers
from sightline.serving.routes import chat, completions, decisions, explain, files, health, models, page, responses
from sightline.serving.security import install_security
from sightline.serving.state import State

__all__ = ["create_app"]

_ROUTERS = (chat, completions, responses, decisions, explain, files, models, health, page)


def create_app(state: State) -> FastAPI:
    """The ASGI application that serves `state`. Its engine is closed when the application's lifespan ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        state.answering.close()
        await asyncio.to_thread(state.engine.close)
        await asyncio.to_thread(state.grammars.close)

    app = FastAPI(
        title="Sightline",
        version=sightline.__version__,
        summary="Vision-language models behind the API that OpenAI's clients speak.",
        # The usual documentation pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to an address that a proxy's client cannot use
        lifespan=lifespan,
        # Without `default` FastAPI would promise its own 422, which is never sent.
        responses={**{status: ERRORS[status] for status in (400, 401, 403, 500)}, "default": DEFAULT_ERROR},
    )
    app.state.sightline = state
    install_error_handlers(app)
    app.add_exception_handler(ClientGone, _on_gone)
    for module in _ROUTERS:
        app.include_router(module.router(state))
    install_security(app, state)
    if state.settings.api_keys:
        _document_keys(app)
    return app


def _document_keys(app: FastAPI) -> None:
    """Let the OpenAPI document say that a key is needed, for all of what it describes but /health."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        document["paths"]["/health"]["get"]["security"] = []
        return document

    app.openapi = openapi  # type: ignore[method-assign]


async def _on_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the log does
