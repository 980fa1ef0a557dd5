"""Clients that are slow, rude or gone: each is cut off alone, and the server answers the next one."""

import contextlib
import gc
import logging
import select
import time
import weakref

import httpx
import pytest

from sightline.serving.protocol import _TOLD

from .small_app import Wire, beside_small, running

SOON = {"receive_seconds": 0.3}


@pytest.fixture(scope="module")
def server():
    with running(SOON) as server:
        yield server


@pytest.fixture(autouse=True)
def bystander(server):
    server.state.streams.clear()
    with httpx.Client(base_url=server.url) as other:
        other.get("/v1/beside")
        with beside_small(other):
            yield
    wait_until(lambda: not connections(server))
    assert not [one for one in server._server.server_state.tasks if not one.done()]


def healthy(server):
    return httpx.get(f"{server.url}/health").status_code == 200


def connections(server):
    """Those that are open beside the bystander's."""
    found = server._server.server_state.connections
    return [one for one in found if one.scope is None or one.scope["path"] != "/v1/beside"]


def wait_until(true, seconds=5.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def rejected(server, reason):
    return server.state.metrics._rejections.labels(reason)._value.get()


def drip(wire, data, until_answered=True):
    """Send a byte at a time, until the server answers or closes; whether it closed."""
    try:
        for byte in data:
            wire.socket.sendall(bytes([byte]))
            time.sleep(0.01)
            if until_answered and select.select([wire.socket], [], [], 0)[0]:
                return False
    except OSError:
        return True
    return False


def test_a_header_of_5_mb_is_refused_and_the_client_can_read_why(server):
    with Wire(server) as wire:
        wire.send("GET /health HTTP/1.1", "Host: localhost", "X-Large: " + "a" * 5_000_000, "")
        status, body = wire.answer()
    assert status == 431
    assert body["error"]["type"] == "invalid_request_error"
    assert "16384 bytes" in body["error"]["message"]


def test_a_header_beyond_the_limit_in_one_piece_is_refused_too(server):
    answer = httpx.get(f"{server.url}/health", headers={"x-large": "a" * 20_000})
    assert answer.status_code == 431
    assert answer.json()["error"]["param"] is None


@pytest.mark.parametrize("text", ["garbage", "GET /health HTTP/1.1", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b"])
def test_what_is_not_http_is_refused_in_the_shape_of_the_api(server, text):
    with Wire(server) as wire:
        wire.send(text, "", "")
        status, body = wire.answer()
    assert status == 400
    assert body["error"]["message"] == "the request is not valid HTTP/1.1"


def test_one_that_is_refused_is_let_go_even_if_it_stays(server):
    with Wire(server) as wire:
        wire.send("garbage", "", "")
        wait_until(lambda: not connections(server))


def test_a_body_that_breaks_off_the_chunks_is_refused(server):
    with Wire(server) as wire:
        wire.ask("POST /v1/echo", "Content-Type: application/json", "Transfer-Encoding: chunked", body=b"zz\r\n")
        status, body = wire.answer()
    assert status == 400
    assert body["error"]["message"] == "the request is not valid HTTP/1.1"


def test_one_that_breaks_them_off_after_its_answer_is_cut(server, caplog):
    with Wire(server) as wire:
        wire.send("POST / HTTP/1.1", "Host: evil.example", "Transfer-Encoding: chunked", "")
        assert wire.socket.recv(12) == b"HTTP/1.1 403"
        wire.send("zz", "")
        wait_until(lambda: not connections(server))
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_header_byte_by_byte_is_cut(server):
    with Wire(server) as wire:
        began = time.monotonic()
        drip(wire, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 500)
        status, body = wire.answer()
        assert time.monotonic() - began < 9
    assert status == 408
    assert body["error"]["message"] == "the request did not arrive within 0.3 seconds"


def test_a_body_byte_by_byte_is_cut(server):
    with Wire(server) as wire:
        began = time.monotonic()
        wire.ask("POST /v1/echo", "Content-Type: application/json", "Content-Length: 500")
        drip(wire, b"[" * 500)
        status, body = wire.answer()
        assert time.monotonic() - began < 9
    assert status == 408
    assert body["error"]["message"] == "the body did not arrive within 0.3 seconds"


def test_a_body_that_is_still_sent_after_the_answer_is_cut(server):
    with Wire(server) as wire:
        wire.ask("POST /v1/nothing", "Content-Length: 100000000")  # too large: answered at once
        assert wire.socket.recv(12) == b"HTTP/1.1 413"
        assert drip(wire, b"a" * 1000, until_answered=False)


def test_a_connection_that_is_over_is_held_by_nobody(server):
    gc.disable()  # what holds itself would stay until it is collected
    try:
        with Wire(server):
            wait_until(lambda: connections(server))
            (found,) = map(weakref.ref, connections(server))
        wait_until(lambda: found() is None)
    finally:
        gc.enable()


def test_a_connection_that_never_asks_is_closed(server):
    with Wire(server) as wire:
        assert wire.read() == b""


def test_a_connection_stays_open_between_requests(server):
    with httpx.Client() as client:
        for _ in range(3):
            assert client.get(f"{server.url}/health").status_code == 200
            time.sleep(0.4)  # beyond receive_seconds, which is for requests under way
            assert len(connections(server)) == 1


def test_a_client_that_closes_its_half_leaves_nothing_behind(server):
    with Wire(server) as wire:
        wire.ask("GET /v1/stream")
        wait_until(lambda: server.state.streams)
        wire.socket.shutdown(1)
        wait_until(lambda: server.state.streams == ["begun", "over"])


def test_a_stream_whose_client_goes_away_ends(server):
    with Wire(server) as wire:
        wire.ask("GET /v1/stream")
        wire.socket.recv(1000)
    wait_until(lambda: server.state.streams == ["begun", "over"])


def test_a_client_that_sends_more_before_its_answer_is_still_seen_to_go_away(server):
    with Wire(server) as wire:
        body = b"{}GET /health HTTP/1.1\r\n"  # two bytes of body, and some of the next request
        wire.ask("POST /v1/stream", "Content-Type: application/json", "Content-Length: 2", body=body)
        wait_until(lambda: server.state.streams)
        wire.send("Host: localhost", "")
    wait_until(lambda: server.state.streams == ["begun", "over"])


def test_of_requests_sent_at_once_the_first_is_answered(server):
    with Wire(server) as wire:
        wire.send("GET /health HTTP/1.1", "Host: localhost", "", "GET /health HTTP/1.1", "Host: localhost", "")
        assert wire.read().count(b"HTTP/1.1 200 OK") == 1


def test_a_client_that_does_not_read_is_cut(server):
    before = rejected(server, "unread")
    with Wire(server) as wire:
        wire.ask("GET /v1/stream?size=1000000&wait=0")
        wait_until(lambda: server.state.streams == ["begun", "over"])
    assert rejected(server, "unread") == before + 1


def test_a_client_that_does_not_read_the_last_of_an_answer_is_cut(server, monkeypatch):
    before = rejected(server, "unread")
    with Wire(server) as wire:
        wire.ask("GET /health")
        wait_until(lambda: connections(server))
        (connection,) = connections(server)
        # So little is left that the transport never says that it is full.
        monkeypatch.setattr(type(connection.transport), "get_write_buffer_size", lambda transport: 100)
        wire.ask("GET /health")
        wait_until(lambda: not connections(server))
    assert rejected(server, "unread") == before + 1


def test_a_client_that_reads_slowly_is_not_cut(server):
    before, size = rejected(server, "unread"), 30_000_000
    with Wire(server) as wire:
        wire.ask(f"GET /v1/stream?size={size}&times=1&wait=0", "Connection: close")
        read, ended = 0, time.monotonic() + 3 * SOON["receive_seconds"]
        while time.monotonic() < ended:  # a little at a time, for longer than nobody may pause
            read += len(wire.socket.recv(400_000))
            time.sleep(0.05)
        while data := wire.socket.recv(1_000_000):
            read += len(data)
    assert read > size
    assert rejected(server, "unread") == before


def test_an_answer_slower_than_the_deadline_is_not_cut(server):
    answer = httpx.get(f"{server.url}/v1/stream?times=4&wait=0.15")
    assert answer.text == "xxxx"


def test_a_client_that_asks_to_upgrade_is_answered_and_still_seen_to_go_away(server):
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    with Wire(server) as wire:
        wire.ask("POST /v1/stream", *upgrade, "Content-Type: application/json", "Content-Length: 2", body=b"{}")
        wait_until(lambda: server.state.streams)
        wire.send("more")
    wait_until(lambda: server.state.streams == ["begun", "over"])


def test_a_body_in_chunks_of_a_byte_is_refused_before_it_keeps_everyone_waiting(server):
    head = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    before = rejected(server, "chunks")
    with Wire(server) as wire:
        wire.ask("POST /v1/echo", *head)
        with contextlib.suppress(ConnectionError):
            wire.socket.sendall(b"1\r\n[\r\n" * 100_000)
        status, body = wire.answer()
    assert status == 400
    assert "small chunks" in body["error"]["message"]
    assert rejected(server, "chunks") == before + 1
    with Wire(server) as wire:  # a slow program that writes as it goes on
        pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in b"[" + b" " * 2000 + b"]")
        wire.ask("POST /v1/echo", *head, "Connection: close", body=pieces + b"0\r\n\r\n")
        assert b"it has to be an object" in wire.read()  # what it says is looked at


def told(headers):
    """Whether an answer tells browsers to keep to it."""
    names = ("content-security-policy", "x-content-type-options", "referrer-policy", "cross-origin-resource-policy")
    return all(headers.get(name) for name in names)


@pytest.fixture
def lines():
    """What is logged of requests."""
    records = []
    logger, handler = logging.getLogger("sightline.access"), logging.Handler()
    handler.emit = lambda record: records.append(record.said)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_what_is_not_http_is_answered_with_the_headers_of_all_answers_and_has_a_line(server, lines):
    with Wire(server) as wire:
        wire.send("garbage", "", "")
        head, _, _ = wire.read().decode().partition("\r\n\r\n")
    assert told(dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:]))
    assert [line["status"] for line in list(lines) if line["method"] == "OTHER"] == [400]


def test_connections_too_many_are_told_so_and_health_still_answers(lines):
    with running({"connections": 4}) as server, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Wire(server))
        wait_until(lambda: len(connections(server)) == 4)
        answer = httpx.get(f"{server.url}/v1/who")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-should-retry"] == "true"
        assert answer.headers["connection"] == "close"
        assert answer.json()["error"]["type"] == "server_error"
        assert told(answer.headers)
        asked = answer.headers["x-request-id"], 503
        wait_until(lambda: asked in [(line["request_id"], line["status"]) for line in list(lines)])
        assert rejected(server, "connections") == 1
        assert healthy(server)
        # Far beyond it they are not even heard.
        for _ in range(_TOLD + 1):
            stack.enter_context(Wire(server))
        with contextlib.suppress(ConnectionError):
            assert stack.enter_context(Wire(server)).read() == b""


def test_head_over_the_wire_has_the_headers_of_get_and_no_body(server):
    with Wire(server) as wire:
        wire.ask("HEAD /health", "Connection: close")
        head, _, body = wire.read().decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200")
    assert "content-length: 15" in head.lower()
    assert body == ""
