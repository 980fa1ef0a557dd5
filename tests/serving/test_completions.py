"""`POST /v1/completions` over a model with random weights: shapes, streams and what is refused."""

import json

import pytest


def complete(client, prompt="A red", **fields):
    answer = client.post("/v1/completions", json={"model": "tiny", "prompt": prompt, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def chunks(client, prompt="A red", **fields):
    body = {"model": "tiny", "prompt": prompt, "stream": True, **fields}
    with client.stream("POST", "/v1/completions", json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = answer.read().decode().split("\n\n")
    assert events.pop() == ""
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def joined(parts, index=0):
    return "".join(choice["text"] for part in parts for choice in part["choices"] if choice["index"] == index)


def test_an_answer_has_the_official_shape(client):
    from openai.types import Completion

    found = Completion.model_validate(complete(client, n=2, logprobs=1, max_tokens=5), extra="forbid")
    assert found.id.startswith("cmpl-")
    assert found.model == "tiny"
    assert found.system_fingerprint.startswith("fp_")
    assert [choice.index for choice in found.choices] == [0, 1]
    assert {choice.finish_reason for choice in found.choices} <= {"stop", "length"}
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_a_prompt_is_encoded_without_any_template(client):
    ids = client.state.processor.encode_text("A red")
    found = complete(client, max_tokens=6)
    assert found["usage"]["prompt_tokens"] == len(ids)
    assert found["choices"] == complete(client, ids, max_tokens=6)["choices"]
    assert (
        found["choices"][0]["text"]
        == client.state.engine.submit(client.state.engine.prepare_text("A red"), max_new_tokens=6).result().text
    )


@pytest.mark.parametrize(
    "fields", [{}, {"temperature": 1.5, "seed": 3, "logprobs": 2}, {"stop": ["e", "?"], "echo": True}]
)
def test_a_stream_joins_to_the_whole_answer(client, fields):
    asked = {"prompt": ["A red", "How"], "n": 2, "max_tokens": 12, **fields}
    whole, parts = complete(client, **asked), chunks(client, **asked)
    assert len({part["id"] for part in parts}) == 1
    assert all("usage" not in part for part in parts)
    assert len(whole["choices"]) == 4
    for choice in whole["choices"]:
        its = [one for part in parts for one in part["choices"] if one["index"] == choice["index"]]
        assert "".join(one["text"] for one in its) == choice["text"]
        assert [one["finish_reason"] for one in its] == [None] * (len(its) - 1) + [choice["finish_reason"]]
        if "logprobs" in fields:
            for name, values in choice["logprobs"].items():
                streamed = [value for one in its if one["logprobs"] for value in one["logprobs"][name]]
                if name == "top_logprobs":
                    values = [pytest.approx(one) for one in values]
                assert streamed == (pytest.approx(values) if name == "token_logprobs" else values)


def test_usage_of_a_stream_comes_last_and_alone(client):
    parts = chunks(client, n=2, max_tokens=4, stream_options={"include_usage": True})
    assert parts[-1]["choices"] == []
    assert all(part["usage"] is None for part in parts[:-1])
    counts = parts[-1]["usage"]
    whole = complete(client, n=2, max_tokens=4)["usage"]
    for one in (counts, whole):
        one.pop("prompt_tokens_details")  # by now the prompt is cached
    assert counts == whole


def test_prompts_are_answered_in_order_and_counted_together(client):
    alone = [complete(client, prompt, max_tokens=4) for prompt in ("A red", "一只", "How many")]
    found = complete(client, ["A red", "一只", "How many"], max_tokens=4)
    assert [one["text"] for one in found["choices"]] == [one["choices"][0]["text"] for one in alone]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert found["usage"][name] == sum(one["usage"][name] for one in alone)


def test_echo_puts_the_prompt_first(client):
    ids = client.state.processor.encode_text("一只 @duck")
    plain = complete(client, "一只 @duck", max_tokens=4)["choices"][0]["text"]
    for prompt in ("一只 @duck", ids):
        assert complete(client, prompt, echo=True, max_tokens=4)["choices"][0]["text"] == f"一只 @duck{plain}"


def test_logprobs_are_those_of_the_model_in_the_older_shape(client):
    choice = complete(client, max_tokens=6, logprobs=2, temperature=1.9, seed=1)["choices"][0]
    told = choice["logprobs"]
    reply = client.state.engine.submit(
        client.state.engine.prepare_text("A red"), max_new_tokens=6, temperature=1.9, seed=1, logprobs=2
    ).result()
    ends = client.state.engine.end_tokens
    kept = [one for one in reply.logprobs if one.token not in ends]
    assert told["token_logprobs"] == pytest.approx([one.logprob for one in kept], abs=1e-5)
    assert all(2 <= len(top) <= 3 for top in told["top_logprobs"])
    for token, logprob, top in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
        assert top[token] == pytest.approx(logprob)
    assert told["text_offset"][0] == 0
    assert told["text_offset"] == sorted(told["text_offset"])
    assert max(told["text_offset"]) <= len(choice["text"])


def test_without_logprobs_none_are_told(client):
    assert complete(client, max_tokens=2)["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    "prompt", ["", [], [""], [[]], ["a", ""], [1.5], [True], {"text": "a"}, [["a"]], ["a", 1], None, 5]
)
def test_a_prompt_that_is_none_is_refused(client, prompt):
    answer = client.post("/v1/completions", json={"model": "tiny", "prompt": prompt})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].startswith("prompt")
    assert "<" not in answer.json()["error"]["param"]


def test_too_many_or_too_long_prompts_are_refused(client, make_client):
    def refused(client, prompt):
        answer = client.post("/v1/completions", json={"model": "tiny", "prompt": prompt})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt"), answer.text

    refused(client, ["a"] * 9)
    answer = client.post("/v1/completions", json={"model": "tiny", "prompt": "duck " * 200})
    assert answer.json()["error"]["message"].endswith("shorten it")
    refused(client, "duck " * 200)
    refused(client, [70] * 200)
    with make_client({"prompt_chars": 10}) as small:
        refused(small, "a" * 11)
        refused(small, ["a" * 6, "b" * 5])
        refused(small, [70] * 11)
    with make_client({"queue": 1}, engine={"max_batch_size": 2}) as small:
        refused(small, ["a"] * 4)
        assert small.get("/health").status_code == 200


def test_one_prompt_too_many_gives_all_places_back(make_client):
    with make_client({"queue": 0}, engine={"max_batch_size": 2}) as client:
        with client.state.answering.place():
            answer = client.post("/v1/completions", json={"model": "tiny", "prompt": ["a", "b"], "max_tokens": 100})
        assert answer.status_code == 429
        assert "retry-after" in answer.headers
        assert client.state.answering.taken == 0
        assert complete(client, max_tokens=2)


def test_the_official_client_completes(served):
    from openai import OpenAI

    with OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as asking:
        asked = {"model": "sightline-tiny", "prompt": "A red", "max_tokens": 5}
        whole = asking.completions.create(**asked, logprobs=1, echo=False)
        parts = list(asking.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for part in parts for choice in part.choices) == whole.choices[0].text
    assert 1 <= len(whole.choices[0].logprobs.tokens) <= whole.usage.completion_tokens <= 5
    assert parts[-1].usage.completion_tokens == whole.usage.completion_tokens
