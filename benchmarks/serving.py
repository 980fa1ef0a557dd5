"""`sightline serve` under load beside `transformers serve`, one after the other: `python benchmarks/serving.py`.

The same model (converted to LLaVA for the peer), the same questions about a picture of each request's own, streamed by
the official client to the end of the answer. A further server that is up already is named by
`--peer NAME=URL=MODEL`; it serves the folder that `sightline convert llava` wrote. Needs
`pip install '.[serve]' openai accelerate`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openai

from sightline.data.scenes.world import World

QUESTIONS = ("Describe the picture.", "What is at the top?", "How many things are there?")
PEER_MAIN = "from transformers.cli.transformers import main; main()"


@dataclass
class Seen:
    """What the clients of one server saw: seconds, and answers by outcome."""

    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    tokens: int = 0
    answered: int = 0
    refused: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def row(self) -> list[str]:
        times = [f"{1000 * np.percentile(of, at):.0f}" for of in (self.first, self.between) for at in (50, 95)]
        rate = self.answered / self.seconds
        return [*times, f"{self.tokens_per_second:.0f}", f"{rate:.1f}", str(self.answered), str(self.refused)]


HEADER = ["first p50", "p95", "between p50", "p95 ms", "tokens/s", "answers/s", "answers", "refused"]


def picture_uris(count: int, seed: int) -> list[str]:
    """Pictures of the built-in world, no two alike, as data URIs."""
    world, found = World(seed=seed, split="test"), []
    for index in range(count):
        buffer = io.BytesIO()
        world.sample(index)["images"][0].save(buffer, "PNG")
        found.append("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    return found


async def load(url: str, model: str, clients: int, pictures: list[str], max_tokens: int) -> Seen:
    """`clients` at once, until every picture has been asked about."""
    seen, waiting = Seen(), list(enumerate(pictures))
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=600) as client:

        async def one() -> None:
            while waiting:
                number, picture = waiting.pop()
                await ask(client, model, picture, QUESTIONS[number % len(QUESTIONS)], max_tokens, seen)

        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        seen.seconds = time.perf_counter() - started
    return seen


async def ask(client: Any, model: str, picture: str, question: str, max_tokens: int, seen: Seen) -> None:
    """One streamed answer; a chunk with text counts as a token, as both servers send one for each."""
    content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    started = last = time.perf_counter()
    first = True
    try:
        stream = await client.chat.completions.create(
            model=model, messages=messages, max_tokens=max_tokens, temperature=0, stream=True
        )
        async for chunk in stream:
            if not (chunk.choices and chunk.choices[0].delta.content):
                continue
            now = time.perf_counter()
            (seen.first if first else seen.between).append(now - (started if first else last))
            last, first = now, False
            seen.tokens += 1
        seen.answered += 1
    except openai.RateLimitError:
        seen.refused += 1


@contextmanager
def server(command: list[str], port: int) -> Iterator[str]:
    """A server of its own, until the block ends."""
    url = f"http://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *command], env={**os.environ, "HF_HUB_OFFLINE": "1"}, **quiet)
    try:
        wait_for(url + "/health", process)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Until `url` answers. Raises RuntimeError where the process ends first, or never answers."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"no server answers at {url}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def servers(model: str, folder: Path, dtype: str, device: str) -> Iterator[tuple[str, str, list[str], int]]:
    """Name, model's name, command and port of what is measured."""
    port = free_port()
    ours = ["-m", "sightline.cli", "serve", "--model", model, "--port", str(port), "--dtype", dtype, "--device", device]
    yield "sightline", "m", [*ours, "--served-name", "m", "--queue", "256"], port
    port = free_port()
    theirs = ["-c", PEER_MAIN, "serve", str(folder), "--port", str(port), "--dtype", dtype, "--device", device]
    yield "transformers", str(folder), theirs, port


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sightline-tiny")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", help="of both servers")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--pictures", type=int, default=64, help="questions for each number of clients")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--seed", type=int, default=None, help="of the pictures; at random, so that no peer knows them")
    parser.add_argument("--peer", action="append", default=[], type=peer, metavar="NAME=URL=MODEL")
    given = parser.parse_args()
    seed = random.randrange(2**31) if given.seed is None else given.seed
    print(f"pictures of seed {seed}")
    clients = [int(number) for number in given.clients.split(",")]
    print(f"{'server':<14}{'clients':>8}  " + "".join(f"{name:>13}" for name in HEADER))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "llava"
        convert = ["-m", "sightline.cli", "convert", "llava", given.model, "--out", str(folder), "--dtype", given.dtype]
        subprocess.run([sys.executable, *convert], check=True, capture_output=True)
        found = {}
        for name, model, command, port in servers(given.model, folder, given.dtype, given.device):
            with server(command, port) as url:
                found[name] = measure(name, url, model, clients, given.pictures, given.max_tokens, seed)
        for name, url, model in given.peer:
            found[name] = measure(name, url, model, clients, given.pictures, given.max_tokens, seed)
    for name in list(found)[1:]:
        for count, ours, theirs in zip(clients, found["sightline"], found[name], strict=True):
            first = np.median(theirs.first) / np.median(ours.first)
            rate = ours.tokens_per_second / theirs.tokens_per_second
            print(f"{count} clients: {rate:.2f} x the throughput of {name}, first token {first:.2f} x as soon")


def peer(text: str) -> tuple[str, str, str]:
    """A server that is up: what to call it, where it is, and what it calls the model."""
    name, url, model = text.split("=", 2)  # argparse says what is wrong, before anything is measured
    return name, url, model


def measure(
    name: str, url: str, model: str, clients: list[int], pictures: int, max_tokens: int, seed: int
) -> list[Seen]:
    """One server under each number of clients; nobody has seen a picture before."""
    all_pictures = picture_uris(pictures * len(clients) + 4, seed)
    asyncio.run(load(url, model, 1, all_pictures[-4:], max_tokens))  # what a first request takes is not measured
    rows = []
    for turn, count in enumerate(clients):
        rows.append(asyncio.run(load(url, model, count, all_pictures[turn * pictures :][:pictures], max_tokens)))
        print(f"{name:<14}{count:>8}  " + "".join(f"{cell:>13}" for cell in rows[-1].row()), flush=True)
    return rows


if __name__ == "__main__":
    main()
