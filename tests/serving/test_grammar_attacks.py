"""Through the API: grammars that cost much end in a 400 for whoever sent them, and keep nobody else waiting."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

SOON = 20  # seconds on a busy machine; without a limit, these take minutes or all memory

pytestmark = pytest.mark.usefixtures("bystander")


def ask(client, **fields):
    messages = [{"role": "user", "content": "What is this?"}]
    body = {"model": "tiny", "messages": messages, "max_tokens": 100, "temperature": 1, "seed": 1, **fields}
    return client.post("/v1/chat/completions", json=body)


def schema(value):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": value}}}


def nested(levels):
    """JSON, for Python's own writer would recurse as deep."""
    return '{"items":' * levels + "{}" + "}" * levels


BOMBS = {
    "unclosed": {"regex": "((("},
    "an exponential repetition": {"regex": "(.{0,9999}){9999}"},
    "a limit in the middle": {"regex": "[.]{20}(.{0,9999}){9999}", "logit_bias": {"2": -100}},
    "itself": schema({"$ref": "#"}),
    "elsewhere": schema({"$ref": "http://127.0.0.1:9/a.json"}),
    "50,000 values": schema({"enum": [f"v{number}" for number in range(50_000)]}),
    "many patterns": schema({"allOf": [{"type": "string", "pattern": f"^.*x.{{{n}}}$"} for n in range(30)]}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_soon_and_alone(client, name):
    ask(client, choice=["a"])  # the tokenizer is read, and the other process there
    start = time.monotonic()
    response = ask(client, **BOMBS[name])
    assert time.monotonic() - start < SOON
    assert response.status_code == (413 if name == "50,000 values" else 400), response.text
    error = response.json()["error"]
    assert "\n" not in error["message"]
    if response.status_code == 400:
        assert (error["code"], error["param"]) == ("invalid_grammar", "response_format.json_schema.schema") or (
            error["param"] == "regex"
        )


def test_thirty_thousand_levels_are_refused_before_they_are_a_schema(client):
    form = f'{{"type":"json_schema","json_schema":{{"name":"a","schema":{nested(30_000)}}}}}'
    body = f'{{"model":"tiny","messages":[{{"role":"user","content":"a"}}],"response_format":{form}}}'
    response = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "the body's JSON is nested too deeply"


def test_many_bombs_at_once_keep_no_thread_of_others(make_client, monkeypatch, red_square):
    """One is tried at a time; those that wait for it hold no thread, and are told to come again."""
    with make_client() as client:
        assert ask(client, choice=["a"]).status_code == 200
        trying, go_on = threading.Event(), threading.Event()
        tried = client.state.grammars._trial
        monkeypatch.setattr(tried, "run", lambda source: (trying.set(), go_on.wait(30), "")[2])
        with ThreadPoolExecutor(40) as clients:
            bombs = [clients.submit(ask, client, regex="a" * number) for number in range(1, 40)]
            try:
                assert trying.wait(20)
                image = {"type": "image_url", "image_url": {"url": red_square}}
                messages = [{"role": "user", "content": [image]}]
                others = {
                    "a picture": ask(client, messages=messages),
                    "a grammar that is known": ask(client, choice=["a"]),
                    "an explanation": client.post(
                        "/v1/explain",
                        json={"model": "tiny", "messages": messages, "answer": "A red duck.", "occlusion": False},
                    ),
                    "a score": client.post(
                        "/v1/score",
                        json={"model": "tiny", "messages": [{"role": "user", "content": "?"}], "choices": ["a", "b"]},
                    ),
                }
                assert {name: answer.status_code for name, answer in others.items()} == dict.fromkeys(others, 200)
                end = time.monotonic() + 20
                while sum(bomb.done() for bomb in bombs) < len(bombs) - 1:
                    assert time.monotonic() < end
                    time.sleep(0.01)
            finally:
                go_on.set()
            statuses = [bomb.result(30).status_code for bomb in bombs]
        assert sorted(statuses) == [200] + [429] * (len(bombs) - 1)
        assert client.get("/health").status_code == 200
        assert client.state.answering.taken == 0
