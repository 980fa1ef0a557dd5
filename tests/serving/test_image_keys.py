"""Each answer is about its own picture, whatever another one has in common with it; and caches are each key's own."""

import base64

import pytest
from PIL import Image

from .asking import answered, ask, part, refused
from .bystander import beside_client
from .pictures import data_uri, encoded, noise

pytestmark = pytest.mark.usefixtures("bystander")


@pytest.fixture(scope="module")
def uncached(make_client):
    """A client of a server that keeps nothing, and so can mix up nothing."""
    with make_client(engine={"image_cache_bytes": 0, "prefix_caching": False}) as client:
        yield client


def png(image, **options):
    return data_uri(encoded(image, "PNG", **options))


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
    "the last byte": [
        data_uri(encoded(noise(), "JPEG", quality=90)),
        data_uri(encoded(noise(seed=1), "JPEG", quality=90)),
    ],
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
    with make_client(api_keys=("alice", "bob", "carol")) as client:
        client.headers["authorization"] = "Bearer carol"

        def cached(key):
            usage = ask(client, part(url), key=key).json()["usage"]
            return usage["prompt_tokens_details"]["cached_tokens"]

        with beside_client(client):
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
