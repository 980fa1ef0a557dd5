"""Fields that say how tokens are chosen: what they come to in the engine, and which bounds a server draws."""

import pytest

from sightline.engine.request import SamplingParams

HELLO = [{"role": "user", "content": "What is this?"}]


@pytest.fixture
def heard(client, monkeypatch):
    """The `SamplingParams` that reach the engine, and whether a rule comes with them; a request that gets so far is
    answered 409."""
    from sightline.serving.errors import APIError

    asked = []

    async def start(params, read, *, prompts=1, salt=b""):
        asked.append((list(params), (await read()).rule))
        raise APIError("taken", status=409)

    monkeypatch.setattr(client.state.answering, "start", start)
    return asked


def chat(client, **fields):
    return client.post("/v1/chat/completions", json={"model": "tiny", "messages": HELLO, **fields})


def complete(client, **fields):
    return client.post("/v1/completions", json={"model": "tiny", "prompt": "A red", **fields})


def refused(answer, param):
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    return answer.json()["error"]["message"]


def test_nothing_asked_is_greedy_and_as_long_as_there_is_room(client, heard):
    room = client.state.model.config.max_position_embeddings
    assert chat(client).status_code == complete(client).status_code == 409
    assert heard == [([SamplingParams(max_new_tokens=room)], None), ([SamplingParams(max_new_tokens=16)], None)]


def test_null_means_the_default_in_every_field(client, heard):
    from sightline.serving.schemas.chat import ChatRequest

    nulls = dict.fromkeys(set(ChatRequest.model_fields) - {"model", "messages"})
    assert chat(client, **nulls).status_code == chat(client).status_code == 409
    assert heard[0] == heard[1]


def test_a_penalty_that_would_make_logits_infinite_is_the_clients_mistake(client):
    assert "0.01" in refused(chat(client, repetition_penalty=1e-39), "repetition_penalty")


@pytest.mark.parametrize("ask", [chat, complete])
def test_every_field_reaches_the_engine(client, heard, ask):
    values = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "frequency_penalty": -1.5,
        "presence_penalty": 2,
        "repetition_penalty": 1.25,
    }
    given = values | {"max_tokens": 9, "stop": ["a", "b"], "logit_bias": {"300": -100, "0": 1.5}, "seed": 5, "n": 3}
    assert ask(client, **given, logprobs=2 if ask is complete else True).status_code == 409
    ((params, _),) = heard
    said = SamplingParams(
        **values,
        max_new_tokens=9,
        stop=("a", "b"),
        logit_bias={300: -100.0, 0: 1.5},
        logprobs=2 if ask is complete else 0,
    )
    assert params == [said.replace(seed=seed) for seed in (5, 6, 7)]


def test_max_tokens_has_two_names_of_which_one_is_given(client, heard):
    assert chat(client, max_completion_tokens=7).status_code == chat(client, max_tokens=7).status_code == 409
    assert heard[0] == heard[1] == ([SamplingParams(max_new_tokens=7)], None)
    refused(chat(client, max_tokens=7, max_completion_tokens=7), "max_tokens")
    room = client.state.model.config.max_position_embeddings
    assert f"at most {room}" in refused(chat(client, max_completion_tokens=room + 1), "max_completion_tokens")
    assert len(heard) == 2


def test_a_server_may_allow_less_than_the_model(make_client):
    with make_client(
        {"max_tokens": 3, "n": 2, "stop": 1, "stop_chars": 2, "logit_bias": 1, "top_logprobs": 1}
    ) as client:
        for ask in (chat, complete):
            answer = ask(client, logit_bias={"2": -100})
            assert answer.json()["usage"]["completion_tokens"] == 3
            assert answer.json()["choices"][0]["finish_reason"] == "length"
            assert "at most 3" in refused(ask(client, max_tokens=4), "max_tokens")
            assert "at most 2" in refused(ask(client, n=3), "n")
            refused(ask(client, stop=["a", "b"]), "stop")
            refused(ask(client, stop="abc"), "stop")
            refused(ask(client, logit_bias={"1": 1, "2": 1}), "logit_bias")
        refused(chat(client, logprobs=True, top_logprobs=2), "top_logprobs")
        refused(complete(client, logprobs=2), "logprobs")
        refused(complete(client, prompt=["a", "b"], n=2), "prompt")
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("key", ["", "a", "-1", "+1", "1.0", " 1", "01", "1_0", "１", "9" * 5000, "99999"])
def test_a_bias_is_for_a_token_that_exists_and_written_in_one_way(client, heard, key):
    refused(chat(client, logit_bias={key: 1}), "logit_bias")
    assert not heard


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stop": 5}, "stop: it has to be a string or an array"),
        ({"messages": 5}, "messages: it has to be an array"),
        ({"messages": []}, "messages: it has too few entries"),
        ({"temperature": 2.5}, "temperature: it is at most 2.0"),
        ({"top_p": -0.5}, "top_p: it is at least 0.0"),
        ({"max_tokens": 0}, "max_tokens: it is at least 1"),
        ({"service_tier": "x"}, "service_tier: it has to be 'auto', 'default'"),
    ],
)
def test_what_a_value_should_be_is_said_in_plain_words(client, fields, said):
    assert chat(client, **fields).json()["error"]["message"].startswith(said)


def test_what_stands_for_pictures_cannot_be_made_likelier(client, heard):
    placeholder = str(client.state.model.config.image_token_id)
    assert "never said" in refused(chat(client, logit_bias={placeholder: 1}), "logit_bias")
    assert not heard
    chat(client, logit_bias={placeholder: -100})
    assert heard


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 2, "logprobs": False}, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"stream": True, "stream_options": {"include_cost": True}}, "stream_options.include_cost"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"modalities": ["text", "audio"]}, "modalities[1]"),
        ({"regex": "a", "choice": ["a"]}, "choice"),
        ({"response_format": {"type": "json_object"}, "regex": "a"}, "regex"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
        ),
        ({"regex": "((("}, "regex"),
        ({"temperature": 2.1}, "temperature"),
        ({"chat_template": "{{ messages }}"}, "chat_template"),
        ({"mm_processor_kwargs": {}}, "mm_processor_kwargs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"verbosity": "low"}, "verbosity"),
        ({"no_such_field": None}, "no_such_field"),
    ],
)
def test_what_would_change_the_answer_and_cannot_is_refused_by_name(client, heard, fields, param):
    refused(chat(client, **fields), param)
    assert not heard
    assert client.get("/health").status_code == 200


def test_the_name_of_a_field_is_told_on_one_line_and_no_longer_than_is_read(client, heard):
    message = refused(chat(client, **{"two\nlines": 1}), "two lines")
    assert "\n" not in message
    answer = chat(client, **{"x" * 100_000: 1})
    assert len(answer.text) < 1000
    assert answer.json()["error"]["param"] == "x" * 197 + "..."
    assert not heard


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True, "logprobs": 0}, "echo"),
        ({"logprobs": 6}, "logprobs"),
        ({"chat_template": "x"}, "chat_template"),
        ({"stream_options": {}}, "stream_options"),
        ({"messages": HELLO}, "messages"),
    ],
)
def test_completions_refuse_by_name_too(client, heard, fields, param):
    refused(complete(client, **fields), param)
    assert not heard


def test_fields_that_cannot_change_an_answer_are_taken(client, heard):
    harmless = {
        "user": "ann",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
    }
    no_tools = {"tools": [], "tool_choice": "none", "parallel_tool_calls": True}
    more = {"modalities": ["text"], "response_format": {"type": "text"}, **no_tools}
    assert chat(client, **harmless, **more).status_code == complete(client, **harmless, best_of=1).status_code == 409
    assert heard[0] == ([SamplingParams(max_new_tokens=128)], None)


def test_another_model_is_not_found(client, heard):
    for path, asked in (("chat/completions", {"messages": HELLO}), ("completions", {"prompt": "a"})):
        answer = client.post(f"/v1/{path}", json={"model": "gpt-4o", **asked})
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"
    assert not heard


@pytest.mark.parametrize(
    "form",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
        {"regex": "[ab]+"},
        {"choice": ["yes", "no"]},
    ],
)
def test_a_form_becomes_a_rule_for_each_answer(client, heard, form):
    assert chat(client, **form, n=2).status_code == 409
    ((params, rule),) = heard
    assert len(params) == 2
    assert callable(rule())
