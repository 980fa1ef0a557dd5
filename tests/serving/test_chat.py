"""`POST /v1/chat/completions`: shapes, streams, log probabilities and counts; first over random weights, then as the
official client sees it over the default model."""

import base64
import json
import time

import pytest

HELLO = [{"role": "user", "content": "What is this?"}]
SHAPES = [
    {},
    {"temperature": 1.5, "seed": 3, "n": 3},
    {"temperature": 1.9, "seed": 8, "logprobs": True, "top_logprobs": 3, "n": 2, "logit_bias": {"2": -100}},
    {"temperature": 1.9, "seed": 4, "logprobs": True, "stop": ["e", " ", "�"], "n": 2},
]


def body(messages=HELLO, **fields):
    return {"model": "tiny", "messages": messages, "max_tokens": 24, **fields}


def chat(client, messages=HELLO, **fields):
    answer = client.post("/v1/chat/completions", json=body(messages, **fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


def events_of(answer):
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = answer.read().decode().split("\n\n")
    assert events.pop() == ""
    return events


def chunks(client, messages=HELLO, **fields):
    with client.stream("POST", "/v1/chat/completions", json=body(messages, stream=True, **fields)) as answer:
        assert answer.status_code == 200
        events = events_of(answer)
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def of(parts, index):
    return [choice for part in parts for choice in part["choices"] if choice["index"] == index]


def with_picture(uri, text="What is this?"):
    return [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": text}]}
    ]


def test_the_counters_have_a_prompt_with_several_answers_once(client):
    def counted(name):
        (line,) = [
            line for line in client.get("/metrics").text.splitlines() if line.startswith(f"sightline_{name}_total")
        ]
        return float(line.split()[-1])

    names = ("prompt_tokens", "completion_tokens")
    before = [counted(name) for name in names]
    usage = chat(client, n=3)["usage"]
    assert [counted(name) - start for name, start in zip(names, before, strict=True)] == [usage[name] for name in names]


def test_an_answer_has_the_official_shape(client, red_square):
    from openai.types.chat import ChatCompletion

    before = int(time.time())
    found = chat(client, with_picture(red_square), n=2, logprobs=True, top_logprobs=2)
    ChatCompletion.model_validate(found, extra="forbid")
    assert found["id"].startswith("chatcmpl-")
    assert found["object"] == "chat.completion"
    assert found["model"] == "tiny"
    assert before <= found["created"] <= time.time()
    assert found["system_fingerprint"].startswith("fp_")
    assert [choice["index"] for choice in found["choices"]] == [0, 1]
    for choice in found["choices"]:
        assert choice["message"].keys() == {"role", "content", "refusal"}
        assert (choice["message"]["role"], choice["message"]["refusal"]) == ("assistant", None)
        assert choice["finish_reason"] in ("stop", "length")
    assert found["id"] != chat(client)["id"]
    assert found["system_fingerprint"] == chat(client)["system_fingerprint"]


def test_an_answer_is_what_the_engine_says(client):
    from sightline.engine.request import SamplingParams

    params = SamplingParams(max_new_tokens=24, temperature=1.5, top_k=50, seed=7, frequency_penalty=0.5, stop=("?",))
    reply = client.state.engine.chat(HELLO, params)
    found = chat(client, temperature=1.5, top_k=50, seed=7, frequency_penalty=0.5, stop="?")
    assert found["choices"][0]["message"]["content"] == reply.text
    assert found["choices"][0]["finish_reason"] == reply.finish_reason
    assert found["usage"]["completion_tokens"] == len(reply.tokens)


def test_answer_i_of_n_has_the_seed_plus_i(client):
    found = chat(client, temperature=1.5, seed=11, n=3)["choices"]
    alone = [chat(client, temperature=1.5, seed=seed)["choices"][0] for seed in (11, 12, 13)]
    assert [one["message"]["content"] for one in found] == [one["message"]["content"] for one in alone]


def test_prompt_tokens_are_those_of_transformers_processor(client, red_square, picture):
    processor = client.state.processor
    messages = [{"role": "system", "content": "一只鸭子。"}, *with_picture(red_square, "a @ <|im_end|> b")]
    plain = [
        {"role": "system", "content": [{"type": "text", "text": "一只鸭子。"}]},
        {
            "role": "user",
            "content": [{"type": "image", "image": str(picture)}, {"type": "text", "text": "a @ <|im_end|> b"}],
        },
    ]
    ids = processor.apply_chat_template(plain, add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"]
    for n in (1, 3):
        usage = chat(client, messages, n=n)["usage"]
        assert usage["prompt_tokens"] == len(ids[0])
        assert usage["prompt_tokens_details"]["image_tokens"] == processor.num_image_tokens
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    details = usage["prompt_tokens_details"]
    assert 0 < details["cached_tokens"] < usage["prompt_tokens"]
    assert details["text_tokens"] + details["image_tokens"] == usage["prompt_tokens"]


@pytest.mark.parametrize("fields", SHAPES, ids=range(len(SHAPES)))
def test_a_stream_joins_to_the_whole_answer(client, red_square, fields):
    from openai.types.chat import ChatCompletionChunk

    messages = with_picture(red_square)
    whole, parts = chat(client, messages, **fields), chunks(client, messages, **fields)
    assert len({part["id"] for part in parts}) == 1
    assert all("usage" not in part for part in parts)
    for part in parts:
        ChatCompletionChunk.model_validate(part, extra="forbid")
    for choice in whole["choices"]:
        first, *its = of(parts, choice["index"])
        assert first["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert all("role" not in one["delta"] for one in its)
        assert "".join(one["delta"].get("content", "") for one in its) == choice["message"]["content"]
        assert [one["finish_reason"] for one in (first, *its)] == [None] * len(its) + [choice["finish_reason"]]
        assert its[-1]["delta"] == {}
        if fields.get("logprobs"):
            streamed = [one for part in its if part["logprobs"] for one in part["logprobs"]["content"]]
            assert [one["bytes"] for one in streamed] == [one["bytes"] for one in choice["logprobs"]["content"]]


def test_roles_of_all_answers_come_before_any_text(client):
    """The official client fills its answers in the order in which it first hears of them."""
    parts = chunks(client, n=3)
    assert [part["choices"][0]["index"] for part in parts[:3]] == [0, 1, 2]
    assert all("role" in part["choices"][0]["delta"] for part in parts[:3])


def test_usage_of_a_stream_comes_last_and_alone(client):
    fields = {"n": 2, "temperature": 1.0, "seed": 1}
    parts = chunks(client, stream_options={"include_usage": True}, **fields)
    assert parts[-1]["choices"] == []
    assert all(part["usage"] is None for part in parts[:-1])
    assert all(part["choices"] for part in parts[:-1])
    whole = chat(client, **fields)["usage"]
    assert parts[-1]["usage"]["completion_tokens"] == whole["completion_tokens"]
    assert parts[-1]["usage"]["prompt_tokens"] == whole["prompt_tokens"]


@pytest.mark.parametrize("seed", range(6))
def test_bytes_of_the_tokens_join_to_the_text(client, seed):
    """Random weights write broken characters all the time: what decodes to the text are the bytes, not the tokens."""
    asked = {"temperature": 1.9, "seed": seed, "logprobs": True, "top_logprobs": 5, "logit_bias": {"2": -100}}
    choice = chat(client, **asked)["choices"][0]
    tokens = choice["logprobs"]["content"]
    raw = b"".join(bytes(one["bytes"]) for one in tokens)
    assert raw.decode(errors="replace") == choice["message"]["content"]
    assert len(tokens) == 24
    for one in tokens:
        assert len(one["top_logprobs"]) == 5
        assert one["token"] == bytes(one["bytes"]).decode(errors="backslashreplace") or not one["bytes"]
        values = [top["logprob"] for top in one["top_logprobs"]]
        assert values == sorted(values, reverse=True)
        assert max(values) >= one["logprob"]
        assert all(-9999.0 <= value <= 0 for value in values)


def test_neither_the_end_nor_a_stop_text_is_among_the_tokens(client):
    end = str(client.state.engine.end_tokens[0])
    forced = chat(client, logprobs=True, logit_bias={end: 100})["choices"][0]
    assert forced["finish_reason"] == "stop"
    assert forced["message"]["content"] == ""
    assert forced["logprobs"]["content"] == []
    text = chat(client)["choices"][0]["message"]["content"]
    stop = text[len(text) // 2 :][:3]
    cut = chat(client, stop=stop, logprobs=True)["choices"][0]
    assert cut["finish_reason"] == "stop"
    assert cut["message"]["content"] == text[: text.index(stop)]
    raw = b"".join(bytes(one["bytes"]) for one in cut["logprobs"]["content"])
    # The last token may reach into the stop text, but none begins there.
    assert raw.decode(errors="replace").startswith(cut["message"]["content"])
    last = len(cut["logprobs"]["content"][-1]["bytes"]) if raw else 0
    assert len(raw[: len(raw) - last].decode(errors="replace")) <= len(cut["message"]["content"])


def test_without_logprobs_none_are_told(client):
    assert chat(client)["choices"][0]["logprobs"] is None
    assert chat(client, logprobs=False)["choices"][0]["logprobs"] is None
    assert all(choice["logprobs"] is None for choice in of(chunks(client), 0))


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_one_of_the_choices(client, stream):
    asked = {"choice": ["a red duck", "一只鸭子"], "temperature": 1.9, "seed": 2}
    if stream:
        text = "".join(one["delta"].get("content", "") for one in of(chunks(client, **asked), 0))
    else:
        text = chat(client, **asked)["choices"][0]["message"]["content"]
    assert text in asked["choice"]


@pytest.mark.parametrize(
    "fields",
    [{"max_tokens": 1000}, {"n": 99}, {"regex": "((("}, {"messages": [{"role": "user", "content": "a " * 200}]}],
)
def test_what_is_refused_is_refused_before_a_stream_begins(client, fields):
    for stream in (False, True):
        answer = client.post("/v1/chat/completions", json={**body(), **fields, "stream": stream})
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"]["param"] in fields
    assert client.get("/health").status_code == 200


def test_a_full_queue_is_429_before_a_stream_begins(make_client):
    with make_client({"queue": 0}, engine={"max_batch_size": 1}) as client:
        with client.state.answering.place():
            for stream in (False, True):
                answer = client.post("/v1/chat/completions", json=body(stream=stream))
                assert answer.status_code == 429
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.headers["x-should-retry"] == "true"
        assert client.get("/health").status_code == 200
        assert chat(client)


@pytest.mark.parametrize(("error", "status"), [("mine", 400), ("other", 500)])
def test_a_failure_in_the_middle_ends_that_stream_alone(client, monkeypatch, error, status):
    from sightline.serving.errors import APIError

    class Late:
        """A rule that fails at its third token."""

        def __init__(self):
            self.calls = 0

        def __call__(self, ids, scores):
            self.calls += 1
            if self.calls == 3:
                raise APIError("the grammar gave up", param="regex") if error == "mine" else RuntimeError("secret")
            return scores

    async def late(*_):
        return Late

    monkeypatch.setattr(type(client.state.grammars), "compile", late)
    asked = body(regex="a", logit_bias={"2": -100})
    whole = client.post("/v1/chat/completions", json=asked)
    with client.stream("POST", "/v1/chat/completions", json=asked | {"stream": True}) as answer:
        assert answer.status_code == 200
        *before, last = [json.loads(event.removeprefix("data: ")) for event in events_of(answer)]
    assert whole.status_code == status
    assert last == whole.json()
    assert last.keys() == {"error"}
    assert "secret" not in json.dumps(last)
    assert len(before) >= 2
    assert all("choices" in part for part in before)
    assert client.get("/health").status_code == 200
    assert client.state.answering.taken == 0
    assert chat(client)


def test_a_server_that_stops_tells_those_whose_answer_it_cuts(make_client):
    """What is cut short must not pass for whole."""
    with make_client() as client:
        handle_of = client.state.engine.submit

        def cancelled(*args, **options):
            handle = handle_of(*args, **options)
            handle.cancel()
            return handle

        client.state.engine.submit = cancelled
        asked = body(logit_bias={"2": -100}, max_tokens=100)
        assert client.post("/v1/chat/completions", json=asked).status_code == 503
        with client.stream("POST", "/v1/chat/completions", json=asked | {"stream": True}) as answer:
            assert json.loads(events_of(answer)[-1].removeprefix("data: "))["error"]["code"] == "stopping"


def test_line_ends_of_unicode_do_not_cut_an_event():
    from sightline.serving.sse import sse_event

    event = sse_event(json.dumps("a\u2028b\u2029c\x85d\ne", ensure_ascii=False)).decode()
    assert event.splitlines() == [event[:-2], ""]
    assert json.loads(event.removeprefix("data: ")) == "a\u2028b\u2029c\x85d\ne"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_a_client_that_goes_away_frees_its_places_within_a_step(served, path, stream):
    import socket
    from urllib.parse import urlsplit

    state, there = served.state, urlsplit(served.url)
    end = str(state.engine.end_tokens[0])
    asked = {"model": "sightline-tiny", "stream": stream, "max_tokens": 900, "n": 2, "logit_bias": {end: -100}}
    asked |= {"messages": HELLO} if path.startswith("chat") else {"prompt": ["a", "b"]}
    data = json.dumps(asked).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nHost: {there.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((there.hostname, there.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        wait_until(lambda: state.engine.load[0] >= 2)
        taken, steps = state.answering.taken, state.engine.stats["steps"]
    wait_until(lambda: state.engine.load == (0, 0) and state.answering.taken == 0)
    assert taken >= 2
    # The event loop has to hear of it first: a few steps, and not the hundreds that were asked for.
    assert state.engine.stats["steps"] - steps < 300


def wait_until(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def square(as_data_uri):
    from PIL import Image

    image = Image.new("RGB", (224, 224), "white")
    image.paste("red", (60, 60, 164, 164))
    return with_picture(as_data_uri(image), "What colour is the square?")


def test_the_official_client_sees_a_picture(official, square):
    found = official.chat.completions.create(model="sightline-tiny", messages=square, max_tokens=12)
    assert "red" in found.choices[0].message.content.lower()
    assert found.usage.prompt_tokens_details.image_tokens == 196
    with pytest.raises(Exception, match="no_such") as refused:
        official.chat.completions.create(model="sightline-tiny", messages=square, extra_body={"no_such": 1})
    assert (refused.value.status_code, refused.value.param, refused.value.code) == (400, "no_such", "unknown_parameter")


def test_the_official_client_streams(official, square):
    asked = {"model": "sightline-tiny", "messages": square, "max_tokens": 12, "n": 2, "logprobs": True}
    whole = official.chat.completions.create(**asked)
    with official.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        kinds = {event.type for event in stream}
        found = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "logprobs.content.delta"} <= kinds
    for got, wanted in zip(found.choices, whole.choices, strict=True):
        assert got.message.content == wanted.message.content
        assert got.finish_reason == wanted.finish_reason
        assert [one.token for one in got.logprobs.content] == [one.token for one in wanted.logprobs.content]
    assert found.usage.completion_tokens == whole.usage.completion_tokens


def test_an_answer_that_is_over_says_so_while_others_go_on(official, square):
    asked = {"model": "sightline-tiny", "messages": square, "max_tokens": 40, "n": 4, "temperature": 2, "seed": 3}
    asked["messages"] = with_picture(square[0]["content"][0]["image_url"]["url"], "Describe the picture.")
    lengths = [len(one.logprobs.content) for one in official.chat.completions.create(**asked, logprobs=True).choices]
    assert min(lengths) < max(lengths) - 3
    short, long = lengths.index(min(lengths)), lengths.index(max(lengths))
    chunks = [one for chunk in official.chat.completions.create(**asked, stream=True) for one in chunk.choices]
    over = next(n for n, one in enumerate(chunks) if one.index == short and one.finish_reason)
    assert any(one.index == long and one.delta.content for one in chunks[over:])


def test_the_official_client_parses(official, square):
    from typing import Literal

    from pydantic import BaseModel

    class Shape(BaseModel):
        colour: Literal["red", "green", "blue"]
        sides: Literal[3, 4]

    asked = {"model": "sightline-tiny", "messages": square, "response_format": Shape, "max_tokens": 60}
    found = official.chat.completions.parse(**asked)
    assert isinstance(found.choices[0].message.parsed, Shape)
    with official.chat.completions.stream(**asked) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == found.choices[0].message.parsed


def test_the_official_client_gives_itself_a_file(official, square):
    uri = square[0]["content"][0]["image_url"]["url"]
    data = base64.b64decode(uri.partition(",")[2])
    uploaded = official.files.create(file=("square.png", data), purpose="vision")
    by_id = [{"role": "user", "content": [{"type": "file", "file": {"file_id": uploaded.id}}, square[0]["content"][1]]}]
    answers = [
        official.chat.completions.create(model="sightline-tiny", messages=messages, max_tokens=12)
        for messages in (square, by_id)
    ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content
    assert answers[1].usage.prompt_tokens_details.cached_tokens > 196  # the very same picture
