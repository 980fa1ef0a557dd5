"""Which URLs pictures come from: the named hosts' public addresses, at every hop, and nothing else is connected to."""

import asyncio
import contextlib
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.serving.errors import APIError
from sightline.serving.image_urls import Fetcher, read_url
from sightline.serving.public_address import is_public
from sightline.serving.settings import Limits

from .site_of_pictures import PICTURE, Site, answer, anything, fetch, redirect, refusal


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

    found = asyncio.run(resolve("localhost", 80))
    assert {*found} == {one[4][0] for one in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    assert found


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
