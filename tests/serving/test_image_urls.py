"""A picture behind a URL is fetched with one plain request, within its size and its time."""

import asyncio
import gzip
import ssl
import threading

import pytest

from sightline.serving.errors import APIError
from sightline.serving.image_urls import Fetcher
from sightline.serving.settings import Limits

from .site_of_pictures import PICTURE, answer, anything, fetch, redirect, refusal


def test_a_picture_is_fetched_with_one_plain_request():
    found, site = fetch({"/a.png": answer()})
    assert found == PICTURE
    request = site.requests[0].lower().split("\r\n")
    assert request[0] == "get /a.png http/1.1"
    names = {line.partition(":")[0] for line in request[1:] if line}
    assert names <= {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert f"host: pictures.example.org:{site.port}" in request
    assert "accept-encoding: identity" in request


def test_a_body_in_chunks_is_joined():
    async def chunks():
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"
        yield b"2\r\nef\r\n0\r\n\r\n"

    assert fetch({"/a.png": chunks})[0] == b"abcdef"


def test_the_path_and_query_arrive_and_the_fragment_stays():
    url = "http://pictures.example.org:{port}/b%20c/d?size=1&sign=a+b%2F@x#no"
    found, site = fetch({"/b%20c/d?size=1&sign=a+b%2F@x": answer()}, url)
    assert found == PICTURE
    assert len(site.requests) == 1


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial", "304 Not Modified", "404 Not Found", "500 Oh"])
def test_another_status_is_refused(status):
    message, _ = refusal({"/a.png": answer(b"" if status[0] != "5" else b"at /home/x: secret", status)})
    assert message.endswith(f"status {status[:3]}")


def test_what_is_compressed_is_refused():
    page = answer(gzip.compress(b"\0" * 1_000_000), Content_Encoding="gzip")
    assert refusal({"/a.png": page})[0].endswith("compressed it")


@pytest.mark.parametrize("length", [101, 10**15])
def test_what_says_that_it_is_too_large_is_refused_unread(length):
    page = answer(b"", length=length)
    assert "100 bytes" in refusal({"/a.png": page}, image_bytes=100, status=413)[0]


def test_what_grows_too_large_is_cut_off():
    sent = []

    async def endless():
        yield b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        while True:
            sent.append(1)
            yield b"\0" * 10_000

    assert "50000 bytes" in refusal({"/a.png": endless}, image_bytes=50_000, status=413)[0]
    assert len(sent) < 2000


@pytest.mark.parametrize("slow", ["address", "head", "body", "redirects"])
def test_all_of_it_has_one_deadline(slow):
    async def trickle():
        if slow == "redirects":
            await asyncio.sleep(0.15)
            yield redirect("/a.png")
            return
        yield b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if slow == "body" else b"A: b\r\n")
        while True:
            yield b"x" if slow == "body" else b"A: b\r\n"
            await asyncio.sleep(0.02)

    async def resolve(host, port):
        await asyncio.sleep(9 if slow == "address" else 0)
        return ["127.0.0.1"]

    message, _ = refusal({"/a.png": trickle}, resolve=resolve, url_seconds=0.3)
    assert message.endswith("it took more than 0.3 seconds")


@pytest.mark.parametrize(
    "page", [b"", b"hello", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", answer(b"ab", length=9)]
)
def test_what_is_no_http_is_refused(page):
    assert "could not be reached, or speaks no HTTP" in refusal({"/a.png": page})[0]


def test_no_proxy_of_the_environment_is_asked(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch({"/a.png": answer()})[0] == PICTURE


def test_cookies_are_not_carried_along():
    page = answer(b"", "302 Found", Location="/b.png", Set_Cookie="a=b")
    found, site = fetch({"/a.png": page, "/b.png": answer()})
    assert found == PICTURE
    assert "cookie" not in site.requests[1].lower()


def test_no_more_are_fetched_at_once_than_may_be():
    async def main():
        fetcher = Fetcher(("a.example",), Limits(fetches=0))
        with pytest.raises(APIError) as caught:
            await fetcher.fetch("http://a.example/", "image")
        assert (caught.value.status, caught.value.retry_after) == (429, 1)

    asyncio.run(main())


def test_https_asks_for_the_name_at_the_address_that_was_checked_and_wants_its_certificate():
    hellos = []

    async def main():
        async def listen(reader, writer):
            hellos.append(await reader.read(2000))
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def resolve(host, port):
            return ["127.0.0.1"]

        fetcher = Fetcher(("pictures.example.org",), Limits(), ports=(port,), resolve=resolve, is_public=anything)
        with pytest.raises(APIError, match="could not be reached"):
            await fetcher.fetch(f"https://pictures.example.org:{port}/a.png", "image")
        server.close()
        await server.wait_closed()

    asyncio.run(main())
    assert b"pictures.example.org" in hellos[0]


def test_certificates_are_checked():
    from sightline.serving.image_urls import _tls

    assert _tls().verify_mode == ssl.CERT_REQUIRED
    assert _tls().check_hostname


def test_a_server_without_a_queue_fetches_all_the_same():
    assert fetch({"/a.png": answer()}, queue=0)[0] == PICTURE


def test_names_that_nobody_answers_for_keep_no_thread_of_others(monkeypatch):
    """The system's resolver waits for long; what else is done in threads must not wait behind it."""
    from sightline.serving.image_urls import resolve

    answered = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answered.wait(20) or [])

    async def main():
        asked = [asyncio.create_task(resolve("slow.example", 80)) for _ in range(100)]
        await asyncio.sleep(0.05)
        try:
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 5) == "done"
        finally:
            answered.set()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(main())
