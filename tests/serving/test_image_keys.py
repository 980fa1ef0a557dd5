"""Through the API: each answer is about its own picture, and pictures that attack harm no request but their own."""

import base64
import builtins
import contextlib
import io
import os
import socket
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

MIB = 2**20


def png(image, **options):
    return uri(encoded(image, "PNG", **options))


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def uri(data, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def noise(width=40, height=30, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def part(url, **fields):
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def request(*parts, text="What is this?", **options):
    content = [*parts, {"type": "text", "text": text}]
    return {"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": content}], **options}


def ask(client, *parts, key=None, **options):
    headers = {"Authorization": f"Bearer {key}"} if key else None
    return client.post("/v1/chat/completions", json=request(*parts, **options), headers=headers)


def answered(client, url):
    """How probable the likeliest first tokens are: fine enough to tell any two pictures apart."""
    response = ask(client, part(url), logprobs=True, top_logprobs=8)
    assert response.status_code == 200, response.text
    (token,) = response.json()["choices"][0]["logprobs"]["content"]
    return tuple(round(one["logprob"], 4) for one in token["top_logprobs"])


def refused(response, param):
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert response.headers["x-should-retry"] == "false"
    assert not any(word in error["message"] for word in ("/", "PIL", "Error", "0x", "\n")), error["message"]
    return error["message"]


@pytest.fixture(scope="module")
def uncached(make_client):
    """A client of a server that keeps nothing, and so can mix up nothing."""
    with make_client(engine={"image_cache_bytes": 0, "prefix_caching": False}) as client:
        yield client


@pytest.fixture(autouse=True)
def healthy(client):
    yield
    assert client.get("/health").status_code == 200
    assert client.state.answering.taken == 0


# Keys.


def palette(*colours):
    image = Image.frombytes("P", (8, 8), bytes(index % 4 for index in range(64)))
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def with_transparency(colour):
    image = palette((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9))
    return png(image, transparency=colour)


RAW = noise(8, 12).tobytes()
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
LARGE = noise(200, 200)
LARGE_END = LARGE.copy()
LARGE_END.paste("red", (0, 190, 200, 200))

LOOKALIKES = {
    "size": [png(Image.frombytes("RGB", size, RAW)) for size in [(8, 12), (12, 8), (4, 24), (24, 4), (96, 1)]],
    "mode": [
        png(Image.frombytes("L", (12, 8), RAW[:96])),
        png(Image.frombytes("RGB", (8, 4), RAW[:96])),
        png(Image.frombytes("RGBA", (4, 6), RAW[:96])),
        png(Image.frombytes("LA", (6, 8), RAW[:96])),
    ],
    "palette": [png(palette(*COLOURS)), png(palette(*COLOURS[::-1])), png(palette(*COLOURS[1:], COLOURS[0]))],
    "transparency": [with_transparency(index) for index in range(3)],
    "the first 64 kB": [png(image, compress_level=0) for image in (LARGE, LARGE_END)],
    "the last byte": [uri(encoded(noise(), "JPEG", quality=90)), uri(encoded(noise(seed=1), "JPEG", quality=90))],
}


@pytest.mark.parametrize("same_but", LOOKALIKES)
def test_pictures_that_look_alike_to_a_cache_get_their_own_answers(client, uncached, same_but):
    urls = LOOKALIKES[same_but]
    expected = [answered(uncached, url) for url in urls]
    assert len(set(expected)) == len(urls)  # the pictures can be told apart at all
    for _ in range(2):  # the second time from the cache
        for url, its in zip(urls, expected, strict=True):
            assert answered(client, url) == pytest.approx(its, abs=2e-4)


def test_the_first_64_kb_of_the_two_large_files_are_equal():
    first, second = (base64.b64decode(url.partition(",")[2]) for url in LOOKALIKES["the first 64 kB"])
    assert first[41:65_536] == second[41:65_536]  # behind the header and the length of what follows
    assert first != second


@pytest.mark.parametrize("name", ["uuid", "key", "id", "cache_key", "mm_hash", "hash"])
def test_a_key_sent_by_the_client_is_refused(client, name):
    url = png(noise())
    refused(ask(client, part(url, **{name: "mine"})), f"messages[0].content[0].image_url.{name}")
    refused(ask(client, {**part(url), name: "mine"}), f"messages[0].content[0].{name}")


def test_a_cache_key_for_prompts_changes_no_answer(client):
    red, blue = (png(Image.new("RGB", (20, 20), colour)) for colour in ("red", "blue"))
    plain = [answered(client, url) for url in (red, blue)]
    assert plain[0] != plain[1]
    for url, its in ((red, plain[0]), (blue, plain[1])):
        response = ask(client, part(url), logprobs=True, top_logprobs=8, prompt_cache_key="mine")
        (token,) = response.json()["choices"][0]["logprobs"]["content"]
        assert [one["logprob"] for one in token["top_logprobs"]] == pytest.approx(its, abs=2e-4)


def test_one_key_s_prompts_tell_another_nothing(make_client):
    url = png(noise())
    with make_client(api_keys=("alice", "bob")) as client:

        def cached(key):
            usage = ask(client, part(url), key=key).json()["usage"]
            return usage["prompt_tokens_details"]["cached_tokens"]

        assert cached("alice") == 0
        assert cached("alice") > 0
        assert cached("bob") == 0


def test_an_answer_under_way_holds_no_large_picture_even_if_its_features_are_cached(client):
    engine, sides = client.state.engine, (2100, 2100)
    for size, is_held in [((50, 50), True), (sides, False)]:
        parts = [{"type": "image", "image": Image.new("RGB", size, "red")}, {"type": "text", "text": "?"}]
        messages = [{"role": "user", "content": parts}]
        engine.submit(messages, max_new_tokens=1).result()
        _, pictures = engine.prepare(messages, b"")  # what a second request holds
        assert [(one._prepare is not None) for one in pictures.values()] == [is_held]


# Files and other machines.


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
        uri(f"<svg><image href='http://{at}/'/></svg>".encode(), "svg+xml"),
        f"data:text/plain;base64,{base64.b64encode(str(secret).encode()).decode()}",
        "",
        "a",
        "\0",
    ]


@pytest.mark.parametrize("hosts", [(), ("pictures.example.org", "localhost", "127.0.0.1")])
def test_no_source_reaches_this_machine(make_client, listener, tmp_path, opened, hosts):
    async def here(host, port):
        return ["127.0.0.1"]

    with make_client(image_hosts=hosts) as client:
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
        assert client.get("/health").status_code == 200
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
    with make_client(image_hosts=("127.0.0.1",)) as client:
        ask(client)
        opened.clear()
        response = ask(client, text=text.format(port=listener.port))
        assert response.json()["usage"]["prompt_tokens_details"]["image_tokens"] == 0
        assert opened == []
        assert listener.hits == 0


# Bombs and odd pictures.


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND")


def frames(format):
    pictures = [Image.new("RGB", (16, 16), (index % 256, 0, index // 256)) for index in range(300)]
    return encoded(pictures[0], format, save_all=True, append_images=pictures[1:])


def cut(data):
    return data[: len(data) // 2]


def in_a_million_parts():
    data = encoded(noise(), "PNG")
    return data[:33] + chunk(b"aaAa") * 200_000 + data[33:]


def refined_again_and_again():
    data = encoded(Image.new("L", (1000, 1000)), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 10_000 + data[-2:]


GREY_16 = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
TURNED = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
ODD = {
    "one pixel": lambda: encoded(Image.new("RGB", (1, 1)), "PNG"),
    "a line": lambda: encoded(Image.new("RGB", (1, 9999)), "PNG"),
    "a lying line": lambda: encoded(Image.new("RGB", (9999, 1)), "PNG"),
    "CMYK": lambda: encoded(noise().convert("CMYK"), "JPEG"),
    "16 bits": lambda: encoded(GREY_16, "PNG"),
    "LA": lambda: encoded(noise().convert("LA"), "PNG"),
    "palette": lambda: encoded(noise().quantize(16), "PNG"),
    "turned": lambda: encoded(noise(), "JPEG", exif=TURNED),
    "animated GIF": lambda: frames("GIF"),
    "animated WebP": lambda: frames("WEBP"),
    "animated PNG": lambda: frames("PNG"),
    "5 MB": lambda: encoded(noise(1300, 1300), "PNG", compress_level=0),
}
BAD = {
    "40000 x 40000": lambda: png_header(40_000, 40_000),
    "zero bytes": lambda: b"",
    "nothing but zeros": lambda: b"\0" * 1000,
    "SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "FITS": lambda: b"SIMPLE  =                    T".ljust(2880),
    "HTML": lambda: b"<html><img src='http://127.0.0.1'></html>",
    "TIFF": lambda: encoded(noise(), "TIFF"),
    "cut JPEG": lambda: cut(encoded(noise(), "JPEG")),
    "cut PNG": lambda: cut(encoded(noise(), "PNG")),
    "a million parts": in_a_million_parts,
    "refined again and again": refined_again_and_again,
}


@pytest.mark.parametrize("name", [*ODD, *BAD])
def test_an_odd_picture_is_answered_about_or_refused_within_a_second(client, name):
    url = uri({**ODD, **BAD}[name]())
    start = time.process_time()
    response = ask(client, part(url))
    assert time.process_time() - start < 1
    if name in ODD:
        assert response.status_code == 200, response.text
    else:
        refused(response, "messages[0].content[0].image_url")


def test_an_answer_is_about_the_picture_as_its_exif_turns_it(client):
    upright = noise().transpose(Image.Transpose.ROTATE_270)
    turned = encoded(noise(), "PNG", exif=TURNED.removeprefix(b"Exif\0\0"))
    assert answered(client, uri(turned)) == answered(client, png(upright))


@pytest.mark.parametrize("count", [17, 1000])
def test_too_many_pictures_are_refused_before_the_first_is_decoded(client, monkeypatch, count):
    decoded = []
    monkeypatch.setattr("sightline.serving.images.decode_picture", lambda *args: decoded.append(args))
    start = time.process_time()
    message = refused(ask(client, *[part(png(Image.new("RGB", (1, 1))))] * count), "messages[0].content[16].image_url")
    assert time.process_time() - start < 1
    assert message.startswith(f"{count} pictures")
    assert decoded == []


def test_a_picture_of_too_many_bytes_is_refused(make_client):
    with make_client(limits={"image_bytes": 1000}) as client:
        response = ask(client, part(uri(b"\0" * 1001)))
        assert response.status_code == 413
        assert response.json()["error"]["param"] == "messages[0].content[0].image_url"
        assert client.get("/health").status_code == 200


def test_pictures_that_fill_the_memory_together_are_refused_and_leave_room(make_client):
    with make_client(limits={"pixels": 100}) as client:
        ten = [part(png(Image.new("RGB", (10, 10), (index, 0, 0)))) for index in range(6)]
        response = ask(client, *ten)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert 'reason="pixels"' in client.get("/metrics").text
        for _ in range(3):
            assert ask(client, *ten[:5]).status_code in (200, 400)  # the tiny model has no room for five
        assert ask(client, *ten[:2]).status_code == 200
        assert client.state.pixels.held == 0


def test_an_attack_leaves_other_answers_as_they_are(client):
    url = part(png(noise()))
    bombs, answers, is_over = [part(uri(make())) for make in BAD.values()], [], threading.Event()

    def said():
        response = ask(client, url, max_tokens=20, temperature=1, seed=5)
        return response.json()["choices"][0]["message"]["content"]

    def go_on():
        while not is_over.is_set():
            answers.append(said())

    alone = said()
    other = threading.Thread(target=go_on)
    other.start()
    for bomb in bombs:
        assert ask(client, bomb).status_code == 400
    is_over.set()
    other.join()
    assert set(answers) == {alone}
