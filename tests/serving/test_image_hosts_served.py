"""Pictures behind URLs, asked for through the API: no redirect and no name that changes its mind gets elsewhere."""

import asyncio
import io
import threading

import pytest
from PIL import Image

from .bystander import beside_client
from .site_of_pictures import Site, answer, redirect

HOST = "pictures.example.org"


@pytest.fixture
def site():
    """A `Site` on loopback, in a loop and a thread of its own; its pages are the test's to fill."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(20)

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    site = run(Site({"/b.png": answer(buffer.getvalue())}).__aenter__())
    yield site
    run(site.__aexit__())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.fixture
def ask(make_client, site):
    """Asks about `path` of the site, beside another's stream; its name leads to each of `addresses` in turn."""
    with make_client(image_hosts=(HOST,)) as client:

        def ask(path, addresses):
            async def resolve(host, port):
                return [addresses.pop(0)]

            fetcher = client.state.fetcher
            fetcher.ports, fetcher.resolve = (site.port,), resolve
            fetcher.is_public = lambda address: address == "127.0.0.1"
            image = {"type": "image_url", "image_url": {"url": f"http://{HOST}:{site.port}{path}"}}
            body = {"model": "tiny", "messages": [{"role": "user", "content": [image]}], "max_tokens": 2}
            with beside_client(client):
                return client.post("/v1/chat/completions", json=body)

        yield ask


def test_a_redirect_to_an_allowed_picture_is_followed(ask, site):
    site.pages["/a.png"] = redirect("/b.png")
    assert ask("/a.png", ["127.0.0.1", "127.0.0.1"]).status_code == 200
    assert len(site.requests) == 2


@pytest.mark.parametrize("location", ["http://127.0.0.1:{port}/b.png", "http://localhost:{port}/b.png", "file:///b"])
def test_a_redirect_to_this_machine_is_a_400(ask, site, location):
    site.pages["/a.png"] = redirect(location.replace("{port}", str(site.port)))
    _refused(ask("/a.png", ["127.0.0.1", "127.0.0.1"]))
    assert len(site.requests) == 1


def test_a_name_that_turned_private_between_two_requests_is_a_400(ask, site):
    site.pages["/a.png"] = redirect("/b.png")
    _refused(ask("/a.png", ["127.0.0.1", "10.0.0.1"]))
    assert len(site.requests) == 1


def test_a_name_is_not_looked_up_again_for_the_connection(ask, site):
    addresses = ["127.0.0.1", "10.0.0.1"]
    assert ask("/b.png", addresses).status_code == 200
    assert addresses == ["10.0.0.1"]


def _refused(response):
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("image_url_failed", "messages[0].content[0].image_url")
    assert "127.0.0.1" not in error["message"]
