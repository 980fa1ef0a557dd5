"""`POST /v1/explain`: the maps of `sightline.explain`, one computed at a time, none for a client that has gone."""

import asyncio
import json
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from http.client import HTTPConnection

import httpx
import pytest
from PIL import Image

from sightline.serving.errors import APIError
from sightline.serving.turns import Turns


@pytest.fixture(autouse=True)
def healthy(client):
    """Whatever a test sent, only that request may have failed."""
    yield
    assert client.get("/health").status_code == 200
    assert client.state.answering.taken == 0


def body(uri, **fields):
    parts = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "What is this?"}]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], "answer": "A red duck.", **fields}


def ask(client, uri, **fields):
    return client.post("/v1/explain", json=body(uri, **fields))


def conversation():
    image = Image.new("RGB", (40, 40), "white")
    image.paste("red", (10, 10, 30, 30))
    return [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "What is this?"}]}]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"occlusion": False},
        {"layer": 1, "head": 0, "occlusion": False},
        {"rollout": True, "window": 2, "stride": 1},
    ],
)
def test_words_and_maps_are_those_of_explain(client, red_square, options):
    from sightline.explain import explain

    found = ask(client, red_square, **options)
    assert found.status_code == 200, found.text
    model, processor = client.state.model, client.state.processor
    wanted = explain(model, processor, conversation(), "A red duck.", **options).as_dict()
    assert found.json() == {"model": "tiny", **wanted}


def test_without_an_answer_it_is_the_models_own(served, red_square):
    asked = {**body(red_square), "model": "sightline-tiny", "occlusion": False}
    del asked["answer"]
    found = httpx.post(f"{served.url}/v1/explain", json=asked, timeout=30).json()
    assert found["answer"] == served.state.engine.chat(conversation()).text
    assert "red" in [word["text"] for word in found["words"]]


def test_an_answer_of_the_models_own_without_a_word_cannot_be_explained(client, red_square, monkeypatch):
    from sightline.engine.engine import Handle

    real = Handle.result
    monkeypatch.setattr(Handle, "result", lambda self, timeout=None: replace(real(self, timeout), text=" "))
    answer = ask(client, red_square, answer=None)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "answer")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"layer": 2}, "layer"),
        ({"layer": -1}, "layer"),
        ({"layer": 2**63}, "layer"),
        ({"head": 2}, "head"),
        ({"head": "0"}, "head"),
        ({"rollout": True, "layer": 0}, "layer"),
        ({"rollout": True, "head": 0}, "head"),
        ({"window": 0}, "window"),
        ({"window": 5}, "window"),
        ({"window": 2, "stride": 3}, "stride"),
        ({"stride": 4}, "stride"),
        ({"occlusion": False, "window": 2}, "window"),
        ({"occlusion": False, "stride": 1}, "stride"),
        ({"answer": ""}, "answer"),
        ({"answer": " \n"}, "answer"),
        ({"answer": ["A"]}, "answer"),
        ({"answer": "red " * 200}, "messages"),
        ({"memory": 1}, "memory"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "What is this?"}]}, "messages"),
    ],
)
def test_what_is_wrong_is_a_400_that_names_the_field(client, red_square, fields, param):
    answer = ask(client, red_square, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_attention_that_takes_too_much_memory_is_a_413_before_anything_is_computed(client, red_square, monkeypatch):
    from sightline.explain import explaining

    def explode(*_):
        raise AssertionError("it was computed")

    monkeypatch.setitem(explaining.explain.__wrapped__.__kwdefaults__, "memory", 4 * 2 * 30 * 30)
    assert ask(client, red_square, occlusion=False).status_code == 200
    monkeypatch.setattr(explaining, "force", explode)
    answer = ask(client, red_square, occlusion=False, rollout=True)
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "messages")


def test_limits_are_those_of_chats(make_client, red_square):
    with make_client(limits={"images": 1, "prompt_chars": 40}) as client:
        messages = body(red_square)["messages"]
        answer = ask(client, red_square, messages=messages * 2)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[1].content[0].image_url")
        answer = ask(client, red_square, answer="a" * 41)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "answer")


@pytest.fixture
def slow(monkeypatch):
    """Makes explanations take until `slow.go` is set; `slow.most` of them were computed at once."""

    class Slow:
        go, begun = threading.Event(), threading.Event()
        now = most = 0

    from sightline.serving.routes import explain as route

    real, lock = route.explain, threading.Lock()

    def explain(*args, **options):
        with lock:
            Slow.now += 1
            Slow.most = max(Slow.most, Slow.now)
        Slow.begun.set()
        try:
            Slow.go.wait(20)
            return real(*args, **options)
        finally:
            with lock:
                Slow.now -= 1

    monkeypatch.setattr(route, "explain", explain)
    return Slow


def test_one_is_computed_and_as_many_wait_as_may(make_client, red_square, slow):
    with make_client(limits={"explain_queue": 1}) as client, ThreadPoolExecutor(3) as pool:
        # Which of the three is one too many is the scheduler's to say; it alone ends before the others may.
        asked = [pool.submit(ask, client, red_square, occlusion=False) for _ in range(3)]
        (first,), waiting = wait(asked, 60, FIRST_COMPLETED)
        refused = first.result()
        assert refused.status_code == 429
        assert slow.begun.wait(20)
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.headers["x-should-retry"] == "true"
        assert int(refused.headers["retry-after"]) > 0
        chat = {"model": "tiny", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 2}
        assert client.post("/v1/chat/completions", json=chat).status_code == 200, "others are not kept waiting"
        slow.go.set()
        assert [one.result(20).status_code for one in waiting] == [200, 200]
        assert slow.most == 1
        assert ask(client, red_square, occlusion=False).status_code == 200


def test_a_client_that_goes_away_ends_the_computation(served, red_square, monkeypatch):
    from sightline.serving.routes import explain as route

    begun, ended = threading.Event(), threading.Event()

    def endless(*args, on_progress, **options):
        begun.set()
        try:
            while True:
                on_progress(0, 1)
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(route, "explain", endless)
    asked = {**body(red_square), "model": "sightline-tiny"}
    leaving = HTTPConnection(served.url.removeprefix("http://"))
    leaving.request("POST", "/v1/explain", json.dumps(asked), {"Content-Type": "application/json"})
    assert begun.wait(20)
    leaving.close()
    assert ended.wait(10)
    monkeypatch.undo()
    answer = httpx.post(f"{served.url}/v1/explain", json={**asked, "occlusion": False}, timeout=30)
    assert answer.status_code == 200
    assert httpx.get(f"{served.url}/health").status_code == 200


def test_a_turn_that_is_given_up_is_over_when_its_thread_is():
    order = []

    async def prepare():
        return "read"

    def first(read, on_progress):
        order.append(read)
        while True:
            time.sleep(0.01)
            on_progress(0, 1)

    def second(read, on_progress):
        on_progress(0, 1)
        order.append("second")
        return 2

    async def run():
        turns = Turns(1)
        one = asyncio.create_task(turns.run(prepare, first))
        while not order:
            await asyncio.sleep(0.01)
        two = asyncio.create_task(turns.run(prepare, second))
        await asyncio.sleep(0.05)
        with pytest.raises(APIError) as refused:
            await turns.run(prepare, second)
        assert refused.value.status == 429
        assert order == ["read"]
        one.cancel()
        assert await two == 2
        with pytest.raises(asyncio.CancelledError):
            await one
        assert await turns.run(prepare, second) == 2

    asyncio.run(run())


def test_a_turn_is_free_again_after_what_failed():
    async def prepare():
        return None

    async def broken():
        raise ValueError("unreadable")

    def fail(read, on_progress):
        raise RuntimeError("on fire")

    async def run():
        turns = Turns(0)
        for _ in range(3):
            with pytest.raises(ValueError, match="unreadable"):
                await turns.run(broken, fail)
            with pytest.raises(RuntimeError, match="on fire"):
                await turns.run(prepare, fail)
        waiting = asyncio.create_task(turns.run(lambda: asyncio.sleep(10), fail))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await turns.run(prepare, lambda read, on_progress: 1) == 1

    asyncio.run(run())
