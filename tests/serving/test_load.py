"""Many clients at once against a server of its own, each with its own picture: nothing lost, nothing mixed up.

What is right is what the same model answers alone. Then the server is told to stop in the middle of it all.
"""

import asyncio
import base64
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import psutil
import pytest

import sightline
from sightline.data.scenes.world import World

httpx2 = pytest.importorskip("httpx2", reason="the load needs a client: pip install openai")

QUESTIONS = ("Describe the picture.", "左上角有什么？", "What is in the centre?", "How many things are there?")
PLACES, BATCH = 12, 8  # of the queue and of the batch: fewer than clients, so that some are refused
NEW = 12


def asked(number, picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    image = {"type": "image_url", "image_url": {"url": uri}}
    return [{"role": "user", "content": [image, {"type": "text", "text": QUESTIONS[number % len(QUESTIONS)]}]}]


@pytest.fixture(scope="module")
def truths():
    """For each client its messages, and the answer that the engine gives to them alone."""
    model, processor = sightline.load("sightline-tiny", dtype="float32", device="cpu")
    world, found = World(seed=11, split="test"), []

    def truth(count):
        with sightline.Engine(model, processor, max_batch_size=1) as engine:
            while len(found) < count:
                number = len(found)
                picture = world.sample(number)["images"][0]
                text = {"type": "text", "text": QUESTIONS[number % len(QUESTIONS)]}
                messages = [{"role": "user", "content": [{"type": "image", "image": picture}, text]}]
                found.append((asked(number, picture), engine.chat(messages, max_new_tokens=NEW).text))
        return found[:count]

    return truth


@pytest.fixture
def server(tmp_path):
    """A `sightline serve` in a process of its own, whose memory can be looked at: (process, url)."""
    options = ["--port", "0", "--dtype", "float32", "--device", "cpu", "--queue", str(PLACES)]
    options += ["--max-batch-size", str(BATCH), "--kv-cache-mib", "64", "--shutdown-seconds", "20"]
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "sightline.cli", "serve", *options]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            until = time.monotonic() + 60
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", (tmp_path / "log").read_text())):
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < until, "it did not start"
                time.sleep(0.1)
            url = found[0]  # which is told when it answers
            yield process, url
        finally:
            process.kill()
            process.wait()


async def one_answer(client, messages, stream):
    """The status, the text, and how it ended; None for one that broke off."""
    body = {"model": "sightline-tiny", "messages": messages, "max_tokens": NEW, "temperature": 0, "stream": stream}
    if not stream:
        response = await client.post("/v1/chat/completions", json=body)
        if response.status_code != 200:
            return response.status_code, response.headers, None
        choice = response.json()["choices"][0]
        return 200, choice["message"]["content"], choice["finish_reason"]
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            return response.status_code, response.headers, None
        text, finish = "", None
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                for choice in event["choices"]:
                    text += choice["delta"].get("content") or ""
                    finish = choice["finish_reason"] or finish
        return 200, text, finish


async def one_client(client, messages, truth, until, stopped, outcomes, chance):
    """Ask again and again; come back later where refused, hang up in the middle now and then.

    What was asked half a second before the server was told to stop (`stopped()`) has been taken, or refused.
    """
    while time.monotonic() < until():
        if chance.random() < 0.05:
            try:
                await asyncio.wait_for(one_answer(client, messages, True), chance.random() * 0.2)
            except (TimeoutError, httpx2.TransportError):
                outcomes["hung up"] += 1
            continue
        try:
            begun = time.monotonic()
            status, text, finish = await one_answer(client, messages, chance.random() < 0.5)
        except httpx2.TransportError:
            outcomes["LOST" if begun < stopped() - 0.5 else "broken off"] += 1
            if time.monotonic() < until() - 0.5:
                await asyncio.sleep(0.2)
            continue
        if status == 200 and finish != "cancelled":
            outcomes["right" if text == truth else "WRONG"] += 1
        elif status == 429:
            assert int(text["retry-after"]) >= 1
            assert text["x-should-retry"] == "true"
            outcomes["refused"] += 1
            await asyncio.sleep(0.3 * chance.random())
        else:
            outcomes[f"status {status}"] += 1
            await asyncio.sleep(0.2)


async def crowd(url, pairs, seconds, outcomes, samples, process, ending=None):
    until, stopped = time.monotonic() + seconds, float("-inf")
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        clients = [
            asyncio.create_task(one_client(client, *pair, lambda: until, lambda: stopped, outcomes, random.Random(n)))
            for n, pair in enumerate(pairs)
        ]
        memory = psutil.Process(process.pid)
        while time.monotonic() < until and process.poll() is None:
            samples.append(memory.memory_info().rss)
            await asyncio.sleep(seconds / 40)
            if ending is not None and time.monotonic() > until - seconds / 2:
                process.send_signal(ending)
                stopped, ending = time.monotonic(), None
        await asyncio.gather(*clients)


@pytest.mark.parametrize(
    ("clients", "seconds"), [(24, 4), pytest.param(200, 120, marks=pytest.mark.slow)], ids=["24", "200"]
)
def test_a_crowd_is_answered_right_and_memory_stays_flat(server, truths, clients, seconds):
    process, url = server
    pairs = truths(clients)
    assert len({truth for _, truth in pairs}) > clients / 4  # the answers differ, so that a mix-up would show
    outcomes, samples = Counter(), []
    asyncio.run(crowd(url, pairs, seconds, outcomes, samples, process))
    assert not outcomes.keys() - {"right", "refused", "hung up"}, outcomes
    assert outcomes["right"] >= clients / 2, outcomes
    assert outcomes["refused"] > 0, outcomes
    settled = samples[len(samples) // 3]  # the caches are full by then
    assert max(samples[len(samples) // 3 :]) < 1.1 * settled, [round(one / 2**20) for one in samples]
    with urllib.request.urlopen(url + "/health", timeout=5) as response:
        assert response.status == 200
    # In the middle of the next rush it is told to stop: what it has taken it finishes.
    after = Counter()
    asyncio.run(crowd(url, pairs, 4, after, [], process, ending=signal.SIGTERM))
    assert process.wait(30) == 0
    assert after["WRONG"] == after["LOST"] == 0, after
    assert after["right"] > 0, after
    assert not after.keys() - {"right", "refused", "hung up", "broken off", "status 503"}, after
