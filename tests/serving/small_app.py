"""An application of a few routes behind all that keeps strangers out, over an engine that only counts; and sockets."""

import asyncio
import contextlib
import dataclasses
import json
import socket
from types import SimpleNamespace

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from sightline.engine.request import Usage
from sightline.serving.answering import Answering
from sightline.serving.bodies import StrictRoute
from sightline.serving.errors import install_error_handlers
from sightline.serving.metrics import _ENGINE, Metrics
from sightline.serving.routes import health
from sightline.serving.security import identity, install_security
from sightline.serving.server import Running
from sightline.serving.settings import Limits, Settings

from .bystander import beside


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


def make_state(limits=None, **settings):
    counted = {"load": (0, 0), "stats": dict.fromkeys(_ENGINE, 0)}
    engine = SimpleNamespace(**counted, ping=lambda seconds: None, is_broken=False, max_batch_size=2)
    chosen = Settings("small", limits=dataclasses.replace(Limits(), **(limits or {})), **settings)
    metrics = Metrics(engine)
    answering = Answering(engine, chosen.limits, metrics.rejected, metrics.answered, metrics.failed)
    return SimpleNamespace(settings=chosen, engine=engine, metrics=metrics, answering=answering, streams=[])


def make_app(state):
    app = FastAPI(docs_url=None, redoc_url=None)
    app.state.sightline = state
    install_error_handlers(app)
    app.include_router(health.router(state))
    app.include_router(_routes(state))
    install_security(app, state)
    return app


def _routes(state):
    found = APIRouter(route_class=StrictRoute)

    @found.post("/v1/echo")
    async def echo(body: Anything):
        return body.model_dump()

    @found.get("/v1/who")
    async def who(request: Request):
        return {"salt": identity(request).salt.hex()}

    @found.get("/v1/fail")
    async def fail():
        raise RuntimeError("secret /path/of/mine")

    @found.get("/v1/used/{name}")
    async def used(name: str):
        state.metrics.used(Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3))
        return name

    @found.get("/v1/stream")
    async def stream(size: int = 1, times: int = 1_000_000, wait: float = 0.01):
        async def pieces():
            state.streams.append("begun")
            try:
                for _ in range(times):
                    yield b"x" * size
                    await asyncio.sleep(wait)
                state.streams.append("whole")
            finally:
                state.streams.append("over")

        return StreamingResponse(pieces())

    @found.get("/v1/beside")
    async def beside():
        async def pieces():
            for _ in range(5):
                yield b"."
                await asyncio.sleep(0.001)

        return StreamingResponse(pieces())

    @found.post("/v1/stream")
    async def wait_for_client(body: Anything, request: Request):
        state.streams.append("begun")
        while (await request.receive())["type"] != "http.disconnect":
            pass
        state.streams.append("over")

    return found


@contextlib.contextmanager
def running(limits=None, **settings):
    """A server over the small application, in a thread."""
    state = make_state(limits, **settings)
    with Running(make_app(state), state) as server:
        yield server


def beside_small(*clients):
    """`beside` what is done to servers of the small application: each streams to another client meanwhile.

    Args:
        clients: of the servers, whose requests get in.
    """

    def say():
        return "".join(client.get("/v1/beside").text for client in clients)

    def health():
        return max(client.get("/health").status_code for client in clients)

    return beside(say, health, "....." * len(clients))


class Wire:
    """A connection that is written to byte by byte."""

    def __init__(self, server):
        host, _, port = server.url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)

    def send(self, *lines, body=b""):
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode() + body)

    def ask(self, line, *headers, body=b""):
        self.send(f"{line} HTTP/1.1", "Host: localhost", *headers, "", body=body)

    def read(self):
        """All there is until the other side closes."""
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := self.socket.recv(65536):
                found += piece
        return found

    def answer(self):
        """The status and JSON of an answer after which the connection ends."""
        head, _, body = self.read().partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
