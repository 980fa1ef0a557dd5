"""Whether the server lives, whether it takes requests, and what it counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_1_0_0
from pydantic import BaseModel

from sightline.engine.engine import Engine
from sightline.serving.errors import ERRORS, APIError

if TYPE_CHECKING:
    from sightline.serving.state import State

__all__ = ["Health", "Ready", "router"]

# A step of a large model on a slow machine takes seconds, and the engine answers between two of them.
_PATIENCE = 10.0


class Health(BaseModel):
    """The process lives, and its engine works."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Requests are taken."""

    status: Literal["ready"] = "ready"


def router(state: State) -> APIRouter:
    """`/health`, `/ready` and `/metrics`."""
    found = APIRouter(tags=["Health"])
    pulse = _Pulse(state.engine)

    def check_engine() -> None:
        if state.engine.is_broken:
            raise APIError("the engine fails: start the server anew", status=503, code="engine")

    @found.get("/health", summary="Whether the process lives, and its engine works", responses={503: ERRORS[503]})
    async def health() -> Health:
        check_engine()
        return Health()

    @found.get("/ready", summary="Whether requests are taken", responses={503: ERRORS[503]})
    async def ready() -> Ready:
        if state.answering.closing:
            raise APIError("the server is stopping", status=503, code="stopping")
        check_engine()
        if not await pulse.beats():
            raise APIError("the engine does not answer", status=503, code="engine")
        return Ready()

    @found.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(state.metrics.render(), headers={"Content-Type": CONTENT_TYPE_PLAIN_1_0_0})

    return found


class _Pulse:
    """Whether the engine's thread comes round, asked once at a time however many want to know."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._asking: asyncio.Task[bool] | None = None

    async def beats(self) -> bool:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
        return await asyncio.shield(self._asking)

    def _ask(self) -> bool:
        try:
            self._engine.ping(_PATIENCE)
        except (TimeoutError, RuntimeError):
            return False
        return True
