"""Pictures behind URLs come from the named hosts' public addresses, and nothing else is ever connected to."""

import asyncio
import contextlib
import gzip
import ipaddress
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.serving.errors import APIError
from sightline.serving.image_urls import Fetcher, read_url
from sightline.serving.public_address import is_public
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


# URLs that are not fetched, and whose hosts are not even looked up.


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/a.png",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0x7f.1:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://127.0.0.0x1:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[fe80::1%25lo]:{port}/",
        "http://127.0.0.1:{port}\\@pictures.example.org/",
        "http://127.0.0.1:{port}@pictures.example.org/",
        "http://pictures.example.org@127.0.0.1:{port}/",
        "http://pictures.example.org:80@127.0.0.1:{port}/",
        "http://pictures.example.org\\@127.0.0.1:{port}/",
        "http://pictures.example.org%40127.0.0.1:{port}/",
        "http://user:word@pictures.example.org:{port}/",
        "http://@pictures.example.org:{port}/",
        "http://pictures.example.org.:{port}/a.png",
        "http://.pictures.example.org:{port}/a.png",
        "http://pictures..example.org:{port}/a.png",
        "http://-pictures.example.org:{port}/a.png",
        "http://pictures.example.org:{port}:80/a.png",
        "http://pictures.example.org:+{port}/a.png",
        "http://pictures.example.org: {port}/a.png",
        "http://pictures.example.org:/a.png",
        "http:///a.png",
        "http:/pictures.example.org:{port}/a.png",
        "http:\\\\pictures.example.org:{port}/a.png",
        "http:pictures.example.org:{port}/a.png",
        "http://pictures.example.org:{port}/a\\..\\b",
        "http://pictures.example.org:{port}/a b",
        "http://pictures.example.org:{port}/a\r\nHost: x",
        "http://pictures.example.org:{port}/a.png\n",
        "http://pictures.example.org:{port}/\u00e9.png",
        "http://pictures\u3002example\u3002org:{port}/",
        "http://pictures.ex\u0430mple.org:{port}/",
        "http://pictures.example.org\u2044:{port}/",
        "http://p\u0131ctures.example.org:{port}/",
        "http://picture\u017f.example.org:{port}/",
        "http://ⓟictures.example.org:{port}/",
        "http://pictures.example.org\t:{port}/",
        "http://pictures.example.org\0:{port}/",
        "http://localhost:{port}/",
        "http://example.org:{port}/",
        "http://other.example.org:{port}/",
        "http://a.pictures.example.org:{port}/",
        "http://pictures.example.org.evil.test:{port}/",
        "http://evilpictures.example.org:{port}/",
        "http://pictures.example.org:22/",
        "http://pictures.example.org:99999/",
        "http://pictures.example.org:{port}/" + "a" * 5000,
    ],
)
def test_a_url_that_is_not_allowed_is_refused_and_nothing_is_looked_up(url):
    _, site = refusal({"/": answer(), "/a.png": answer()}, url)
    assert site.requests == []
    assert site.lookups == []


def test_without_hosts_no_url_is_fetched():
    message, site = refusal({"/a.png": answer()}, hosts=())
    assert "this server fetches none" in message
    assert site.requests == site.lookups == []


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("a.example.org", True),
        ("a.b.example.org", True),
        ("A.EXAMPLE.org", True),
        ("example.org", False),
        ("aexample.org", False),
        ("a.example.org.test", False),
    ],
)
def test_a_star_stands_for_all_names_below(host, allowed):
    found, _ = fetch({"/a.png": answer()}, f"http://{host}:{{port}}/a.png", hosts=("*.Example.org",))
    assert (found == PICTURE) is allowed


@given(st.text(max_size=40))
def test_what_is_read_of_a_url_is_a_plain_host_name(text):
    for url in (text, f"http://{text}", f"https://a.example{text}"):
        with contextlib.suppress(ValueError):
            target = read_url(url)
            assert target.host.isascii()
            assert set(target.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
            assert target.path.startswith("/")
            assert read_url(target.url) == target


# Addresses.

SPECIAL = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255
192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1
255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1
64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1
5f00::1 fc00::1 fd00::1 fe80::1 fe80::1%lo 2606:4700::1%1 fec0::1 ff02::1 localhost example.org 1 127.1
"""


@pytest.mark.parametrize(
    "address",
    SPECIAL.split(),
)
def test_no_special_address_is_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::8.8.8.8", "172.32.0.1"])
def test_addresses_of_the_open_internet_are_public(address):
    assert is_public(address)


@given(st.ip_addresses())
def test_no_address_is_public_that_the_standard_library_calls_special(address):
    if is_public(str(address)) and (address.version == 4 or address not in ipaddress.ip_network("64:ff9b::/96")):
        assert address.is_global
        for special in ("private", "loopback", "link_local", "multicast", "reserved", "unspecified"):
            assert not getattr(address, f"is_{special}")


@pytest.mark.parametrize("others", [[], ["8.8.8.8"]])
def test_a_host_with_an_address_that_is_not_public_is_refused_whole(others):
    async def resolve(host, port):
        return [*others, "127.0.0.1"]

    message, site = refusal({"/a.png": answer()}, resolve=resolve, is_public=is_public)
    assert "not public" in message
    assert site.requests == []


def test_the_system_s_resolver_is_asked_for_every_address():
    from sightline.serving.image_urls import resolve

    assert set(asyncio.run(resolve("localhost", 80))) <= {"127.0.0.1", "::1"}


def test_a_name_is_looked_up_once_so_that_it_cannot_change_its_mind():
    answers = [["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"]]

    async def resolve(host, port):
        return answers.pop(0)

    found, _ = fetch({"/a.png": answer()}, resolve=resolve)
    assert found == PICTURE
    assert len(answers) == 2


@pytest.mark.parametrize("error", [OSError("no such name"), UnicodeError("label too long"), None])
def test_a_host_that_is_not_known_is_refused(error):
    async def resolve(host, port):
        if error is not None:
            raise error
        return []

    assert refusal({}, resolve=resolve)[0].endswith("its host is not known")


def test_the_next_address_is_tried_where_one_refuses():
    async def resolve(host, port):
        return ["127.0.0.2", "127.0.0.1"]

    found, _ = fetch({"/a.png": answer()}, resolve=resolve, is_public=lambda address: True)
    assert found == PICTURE


# Redirects.


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("location", ["/b.png", "b.png", "//pictures.example.org:{port}/b.png"])
def test_a_redirect_to_an_allowed_place_is_followed(status, location):
    async def moved():
        yield redirect(location.replace("{port}", str(port[0])), status)

    port = []

    async def main():
        async with Site({"/a.png": moved, "/b.png": answer()}) as site:
            port.append(site.port)
            fetcher = Fetcher(
                ("pictures.example.org",), Limits(), ports=(site.port,), resolve=site.resolve, is_public=anything
            )
            assert await fetcher.fetch(f"http://pictures.example.org:{site.port}/a.png", "image") == PICTURE
            assert site.lookups == ["pictures.example.org"] * 2  # looked up, and checked, again

    asyncio.run(main())


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/b.png",
        "http://localhost:{port}/b.png",
        "http://evil.test/b.png",
        "//evil.test/b.png",
        "/\\evil.test/b.png",
        "http://pictures.example.org@127.0.0.1:{port}/b.png",
        "http://pictures.example.org:22/",
        "http://[::1/",
        "http://[::1]:{port}/",
        "file:///etc/passwd",
        "ftp://pictures.example.org/b.png",
        "gopher://pictures.example.org/",
        "data:image/png;base64,QUJD",
        "",
    ],
)
def test_a_redirect_to_elsewhere_is_refused(location):
    async def moved():
        yield redirect(location.replace("{port}", site_port[0]))

    site_port = [""]
    looked_up = []

    async def main():
        async with Site({"/a.png": moved, "/b.png": answer()}) as site:
            site_port[0] = str(site.port)
            fetcher = Fetcher(
                ("pictures.example.org",), Limits(), ports=(site.port,), resolve=site.resolve, is_public=anything
            )
            with pytest.raises(APIError) as caught:
                await fetcher.fetch(f"http://pictures.example.org:{site.port}/a.png", "image")
            looked_up.extend(site.lookups)
            assert caught.value.status == 400
            assert not any("/b.png" in request for request in site.requests)

    asyncio.run(main())
    assert set(looked_up) == {"pictures.example.org"}


def test_a_redirect_to_a_name_that_turned_private_is_refused():
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def resolve(host, port):
        return answers.pop(0)

    message, site = refusal({"/a.png": redirect("/b.png"), "/b.png": answer()}, resolve=resolve)
    assert "not public" in message
    assert len(site.requests) == 1


def test_redirects_end():
    message, site = refusal({"/a.png": redirect("/a.png")})
    assert message.endswith("it was redirected more than 3 times")
    assert len(site.requests) == 4


# What comes.


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


def test_no_more_are_fetched_at_once_than_may_wait():
    async def main():
        fetcher = Fetcher(("a.example",), Limits(queue=0))
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
