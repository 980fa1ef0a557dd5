"""Someone whose stream goes on beside an attack: it must say what it says alone, and the server must stay well."""

import base64
import contextlib
import functools
import io
import json
import threading
import time

from PIL import Image

from .peak_memory import bounded_memory

# By how much the memory of this process may grow meanwhile. What a bomb would unpack to is more.
MOST_BYTES = 256 * 2**20
SEED = 4711  # tells its requests from the attack's


def _picture():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def question(model="tiny", picture=True, tokens=4):
    """The body of its request."""
    image = {"type": "image_url", "image_url": {"url": _picture()}}
    content = [*([image] if picture else []), {"type": "text", "text": "What is this?"}]
    sampling = {"temperature": 1, "seed": SEED, "max_tokens": tokens, "logit_bias": {"2": -100}}
    return {"model": model, "messages": [{"role": "user", "content": content}], "stream": True, **sampling}


def said(client, body):
    """All that is streamed in answer to `body`."""
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    *events, done = answer.text.strip().split("\n\n")
    assert done == "data: [DONE]"
    parts = [json.loads(event.removeprefix("data: ")) for event in events]
    return "".join(choice["delta"].get("content", "") for part in parts for choice in part["choices"])


@contextlib.contextmanager
def beside(say, health, alone=None):
    """Call `say` over and over in another thread; each time it has to give what it gives alone.

    Args:
        health: the status of /health, asked for in the end.
        alone: what `say` gives alone, where it is known.
    """
    alone = say() if alone is None else alone
    told, is_over, has_begun = [], threading.Event(), threading.Event()

    def go_on():
        try:
            while not is_over.is_set():
                has_begun.set()
                told.append(say())
                is_over.wait(0.1)  # the test is about the attack
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    has_begun.wait()
    try:
        with bounded_memory(MOST_BYTES):
            yield
    finally:
        is_over.set()
        thread.join(30)
    assert not thread.is_alive(), "the other stream does not end"
    assert [one for one in told if one != alone] == [], f"the other stream says {alone!r} alone"
    assert health() == 200


@contextlib.contextmanager
def beside_client(client, **options):
    """`beside` what `client`, of an app that has `state`, is made to do; nothing is left under way in the end."""
    body = question(**options)
    known = client.__dict__.setdefault("said_alone", {})
    key = json.dumps(body)
    if key not in known:
        known[key] = said(client, body)
    with beside(functools.partial(said, client, body), lambda: client.get("/health").status_code, known[key]):
        yield
    end = time.monotonic() + 5
    while client.state.answering.taken or client.state.engine.load != (0, 0):
        assert time.monotonic() < end, "something is still under way"
        time.sleep(0.001)
