"""Through the API: what names a picture on this machine or beside it reaches no file and no socket."""

import base64
import builtins
import contextlib
import io
import os
import socket
import threading
import time

import pytest

from .asking import ask, part
from .bystander import beside_client
from .pictures import data_uri, noise


class Listener:
    """A socket on loopback that counts who knocks."""

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.hits = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.hits += 1
                connection.close()

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture(scope="module")
def listener():
    with Listener() as listener:
        yield listener


@pytest.fixture
def opened(monkeypatch):
    """Every path that is opened."""
    paths = []

    def watch(original):
        def call(path, *args, **kwargs):
            paths.append(path)
            return original(path, *args, **kwargs)

        return call

    for module in (builtins, io, os):
        monkeypatch.setattr(module, "open", watch(module.open))
    return paths


def elsewhere(listener, folder):
    """Sources of a picture that stand on this machine or beside it."""
    secret = folder / "secret.png"
    noise().save(secret)
    link = folder / "link.png"
    link.symlink_to(secret)
    at = f"127.0.0.1:{listener.port}"
    port = listener.port
    return [
        f"http://{at}/a.png",
        f"http://localhost:{port}/a.png",
        f"http://[::1]:{port}/a.png",
        f"http://[::ffff:127.0.0.1]:{port}/a.png",
        f"http://2130706433:{port}/a.png",
        f"http://0x7f.0.0.1:{port}/a.png",
        f"http://017700000001:{port}/a.png",
        f"http://127.1:{port}/a.png",
        f"http://0:{port}/a.png",
        f"http://{at}\\@pictures.example.org/a.png",
        f"http://pictures.example.org@{at}/a.png",
        f"http://pictures.example.org:{port}/a.png",
        f"https://pictures.example.org:{port}/a.png",
        f"HTTP://PICTURES.EXAMPLE.ORG:{port}/a.png",
        "http://169.254.169.254/latest/meta-data/",
        f"ftp://{at}/a.png",
        f"//{at}/a.png",
        f"{at}/a.png",
        f"blob:http://{at}/1234",
        f"url:http://{at}/",
        f"view-source:http://{at}/",
        f" http://{at}/a.png",
        "javascript:alert(1)",
        f"file://{secret}",
        f"FILE://{secret}",
        f"file:{secret}",
        f"file://localhost{secret}",
        str(secret),
        str(link),
        f"{folder}/x/../secret.png",
        os.path.relpath(secret),
        f"~{os.sep}secret.png",
        f"\\\\{at}\\share\\a.png",
        f"data:image/png,{secret}",
        data_uri(f"<svg><image href='http://{at}/'/></svg>".encode(), "svg+xml"),
        f"data:text/plain;base64,{base64.b64encode(str(secret).encode()).decode()}",
        "",
        "a",
        "\0",
    ]


@pytest.mark.parametrize("hosts", [(), ("pictures.example.org", "localhost", "127.0.0.1")])
def test_no_source_reaches_this_machine(make_client, listener, tmp_path, opened, hosts):
    async def here(host, port):
        return ["127.0.0.1"]

    with make_client(image_hosts=hosts) as client, beside_client(client):
        assert ask(client).status_code == 200  # whatever is loaded late is loaded now
        client.state.fetcher.resolve, client.state.fetcher.ports = here, (80, 443, listener.port)
        sources = elsewhere(listener, tmp_path)
        opened.clear()
        for source in sources:
            response = ask(client, part(source))
            assert response.status_code == 400, source
            error = response.json()["error"]
            assert error["param"] == "messages[0].content[0].image_url"
            assert str(tmp_path) not in error["message"]
            assert "127.0.0.1" not in error["message"]
        assert opened == []
        assert listener.hits == 0


def test_the_listener_would_have_noticed(listener):
    with Listener() as other:
        socket.create_connection(("127.0.0.1", other.port)).close()
        for _ in range(100):
            if other.hits:
                break
            time.sleep(0.01)
        assert other.hits == 1


@pytest.mark.parametrize(
    "text", ["![a](http://127.0.0.1:{port}/a.png)", "<img src='http://127.0.0.1:{port}/'>", "file:///etc/passwd"]
)
def test_pictures_in_a_text_are_text(make_client, listener, opened, text):
    with make_client(image_hosts=("127.0.0.1",)) as client, beside_client(client):
        ask(client)
        opened.clear()
        response = ask(client, text=text.format(port=listener.port))
        assert response.json()["usage"]["prompt_tokens_details"]["image_tokens"] == 0
        assert opened == []
        assert listener.hits == 0
