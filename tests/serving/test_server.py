"""How a server begins and ends: its port, the first and the second signal, and what is under way meanwhile."""

import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from sightline.serving.server import address_of, bind

from .small_app import Wire, beside_small, make_app, make_state, running
from .test_protocol import wait_until

# A server of its own process, without a model: it says when it listens, and streams for as long as it is asked to.
PROGRAM = """
import asyncio, sys, threading
from types import SimpleNamespace
from sightline.serving.server import bind, serve
from sightline.serving.settings import Limits, Settings

class Answering:
    async def drain(self, seconds):
        print("draining", flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for name in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{name}.complete"})
        return
    print("begun", flush=True)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(scope["path"][1:])):
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"."})

settings = Settings("none", limits=Limits(shutdown_seconds=float(sys.argv[1])))
metrics = SimpleNamespace(rejected=lambda reason: None)
state = SimpleNamespace(settings=settings, answering=Answering(), metrics=metrics)
serve(app, state, bind("127.0.0.1", 0), lambda url: print(url, flush=True))
print("over", flush=True)
"""


class Process:
    def __init__(self, shutdown_seconds):
        command = [sys.executable, "-c", PROGRAM, str(shutdown_seconds)]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = self.line()

    def line(self):
        return self.popen.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.kill()
        self.popen.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_under_way_finish_and_ends_with_0(number):
    with Process(10) as process, Wire(process) as wire:
        wire.ask("GET /60")
        assert process.line() == "begun"
        process.popen.send_signal(number)
        assert process.line() == "draining"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{process.url}/1")
        assert wire.read().endswith(b"1\r\n.\r\n0\r\n\r\n")
        assert process.line() == "over"
        assert process.popen.wait(5) == 0
        assert process.popen.stderr.read() == ""


def test_what_takes_longer_than_is_allowed_is_cut_and_it_is_still_a_0():
    with Process(-1.8) as process, Wire(process) as wire:  # with what is granted beside it, 0.2 seconds
        wire.ask("GET /100000")
        assert process.line() == "begun"
        process.popen.terminate()
        assert process.line() == "draining"
        assert not wire.read().endswith(b"0\r\n\r\n")
        assert process.line() == "over"
        assert process.popen.wait(5) == 0


def test_a_second_signal_ends_it_at_once():
    with Process(100) as process, Wire(process) as wire:
        wire.ask("GET /100000")
        assert process.line() == "begun"
        process.popen.terminate()
        assert process.line() == "draining"
        process.popen.terminate()
        assert process.popen.wait(5) == -signal.SIGTERM


def test_a_taken_port_is_said_in_one_line():
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} of 127.0.0.1 is taken: give another --port"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "300.1.1.1", "a b", "x" * 300])
def test_an_address_that_is_none_is_said(host):
    with pytest.raises(ValueError, match="there is no address"):
        bind(host, 0)


def test_an_address_of_another_machine_is_said():
    with pytest.raises(ValueError, match=r"there is no port 0 at '192\.0\.2\.1' on this machine"):
        bind("192.0.2.1", 0)


def test_the_url_is_one_to_click_on():
    with bind("localhost", 0) as listener:
        assert address_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    with bind("0.0.0.0", 0) as listener:
        assert address_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")
def test_an_ipv6_address_has_its_brackets():
    with bind("::1", 0) as listener:
        assert address_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_second_listener_of_the_same_port_is_said():
    state = make_state()
    from sightline.serving.server import serve

    with bind("127.0.0.1", 0) as first, socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        second.bind(first.getsockname())  # neither of them listens yet
        second.listen()
        with pytest.raises(ValueError, match="is taken"):
            serve(make_app(state), state, first)


def test_a_server_that_stops_finishes_its_answers_and_takes_no_others():
    with running() as server:
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(httpx.get(f"{server.url}/v1/stream?times=30").text), daemon=True
        )
        asking.start()
        wait_until(lambda: server.state.streams)
        server.stop()
        wait_until(lambda: server.state.answering.closing)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
        asking.join(5)
        assert answers == ["x" * 30]


def test_a_server_stops_at_once_when_nobody_asks_anything():
    with running() as server, httpx.Client() as client:
        client.get(f"{server.url}/health")  # and the connection stays open
        began = time.monotonic()
        server.stop()
        server._thread.join(5)
        assert time.monotonic() - began < 2


def test_aborted_requests_leave_nothing_behind():
    with running() as server:
        with httpx.Client(base_url=server.url) as other, beside_small(other):
            for _ in range(10):
                wires = [Wire(server) for _ in range(10)]
                for wire in wires:
                    wire.ask("GET /v1/stream")
                for wire in wires:
                    wire.socket.close()
        wait_until(lambda: not server._server.server_state.connections)
        wait_until(lambda: not server._server.server_state.tasks)
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert server.state.streams.count("begun") > 0
        assert server.state.streams.count("begun") == server.state.streams.count("over")
