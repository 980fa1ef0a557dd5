"""The server's process: a socket, uvicorn around the application, and how it ends.

Told to stop, it takes no more, lets what is under way finish within a bounded time, and ends with exit code 0; told
again, it ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from sightline.serving.protocol import KEEP_ALIVE_SECONDS, Protocol

if TYPE_CHECKING:  # a port is to be had before torch is there
    from sightline.serving.state import State

__all__ = ["Running", "address_of", "bind", "serve"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# After the time for answers under way: for those cut off to be said so, and then for threads that do not come back.
_GRACE, _LAST_GRACE = 2.0, 10.0


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address, which does not listen yet; port 0 takes a free one.

    Raises:
        ValueError: the port is taken, or not to be had, or there is no such address here.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ValueError(f"there is no address {host!r}: give --host a name or an address of this machine") from None
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _not_bound(error, host, port) from None
    return listener


def _not_bound(error: Exception, host: str, port: int) -> ValueError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return ValueError(f"port {port} of {host} is taken: give another --port, or 0 for any that is free")
    if number == errno.EACCES:
        return ValueError(f"port {port} is not for this user: give a --port from 1024 on")
    return ValueError(f"there is no port {port} at {host!r} on this machine: give another --host or --port")


def address_of(listener: socket.socket) -> str:
    """The URL at which a client on this machine finds it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}[host]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp, state: State, listener: socket.socket, on_start: Callable[[str], None] = lambda url: None
) -> None:
    """Serve `app` at `listener` until the process is told to stop.

    Args:
        on_start: called with the server's URL when it takes requests.

    Raises:
        ValueError: another process began to listen at the same port meanwhile.
    """
    server = _Server(app, state, lambda: on_start(address_of(listener)))
    try:
        server.run([listener])
    except OSError as error:
        raise _not_bound(error, *listener.getsockname()[:2]) from None


class Running:
    """A server in a thread of its own, as a context manager: `url` is where, `state` what it serves.

    Raises:
        ValueError: as `bind`.
    """

    def __init__(self, app: ASGIApp, state: State, host: str = "127.0.0.1", port: int = 0):
        self.state = state
        self._listener = bind(host, port)
        self.url = address_of(self._listener)
        self._started = threading.Event()
        self._server = _Server(app, state, self._started.set)
        self._thread = threading.Thread(target=self._run, name="sightline-server", daemon=True)
        self._error: BaseException | None = None

    def _run(self) -> None:
        try:
            self._server.run([self._listener])
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    def __enter__(self) -> Running:
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise RuntimeError("the server did not start") from self._error
        return self

    def stop(self) -> None:
        """As the first signal does it; this does not wait."""
        self._server.should_exit = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.stop()
        self._thread.join()
        self._listener.close()
        if self._error is not None and error is None:
            raise self._error


class _Server(uvicorn.Server):
    """uvicorn's, with an end of its own."""

    def __init__(self, app: ASGIApp, state: State, on_start: Callable[[], None]):
        limits = state.settings.limits
        self._answering, self._on_start = state.answering, on_start
        self._seconds = limits.shutdown_seconds
        self._told = False
        super().__init__(
            uvicorn.Config(
                app,
                http=functools.partial(Protocol, limits, state.metrics.rejected),  # type: ignore[arg-type]
                loop="asyncio",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=self._seconds + _GRACE,  # type: ignore[arg-type]  # it waits for as long
                h11_max_incomplete_event_size=limits.header_bytes,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door at once; who is inside has `shutdown_seconds`, and then is sent out."""
        if self._told:
            _end_by(self._seconds + _GRACE + _LAST_GRACE)
        draining = asyncio.create_task(self._answering.drain(self._seconds))
        try:
            await super().shutdown(sockets)
        finally:
            draining.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first one is an order to stop, and nothing went wrong; uvicorn would die of it in the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop. A second signal does what signals do to a process, whatever this one is doing."""
        self.should_exit = self._told = True
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_DFL)


def _end_by(seconds: float) -> None:
    """End the process even if a thread never comes back from what it computes."""
    last = threading.Timer(seconds, os._exit, (0,))
    last.daemon = True
    last.start()
