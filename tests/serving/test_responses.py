"""`POST /v1/responses`: what the engine answers, in the shapes and events that OpenAI's client reads."""

import io
import json
import math
import threading

import pytest
from PIL import Image
from pydantic import BaseModel, TypeAdapter

ASKED = {"model": "tiny", "input": "What is this?", "max_output_tokens": 6}


@pytest.fixture(autouse=True)
def healthy(client):
    """Whatever a test sent, only that request may have failed."""
    yield
    assert client.get("/health").status_code == 200
    assert client.state.answering.taken == 0


def ask(client, **fields):
    return client.post("/v1/responses", json={**ASKED, **fields})


def text_of(response):
    (item,) = response["output"]
    (part,) = item["content"]
    return part["text"]


def stream(client, **fields):
    """The events of a streamed answer, each named by its type."""
    answer = ask(client, stream=True, **fields)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def picture(uri):
    return {"type": "input_image", "image_url": uri, "detail": "auto"}


def engine_picture(color="red"):
    image = Image.new("RGB", (40, 40), "white")
    image.paste(color, (10, 10, 30, 30))
    return {"type": "image", "image": image}


def test_an_answer_is_what_the_engine_says(client):
    from openai.types.responses import Response

    response = ask(client).json()
    reply = client.state.engine.chat([{"role": "user", "content": "What is this?"}], max_new_tokens=6)
    assert text_of(response) == reply.text
    usage = response["usage"]
    assert usage["input_tokens"] == reply.usage.prompt_tokens
    assert usage["output_tokens"] == reply.usage.completion_tokens
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert Response.model_validate(response, strict=True).output_text == reply.text
    assert response["store"] is False


def test_items_pictures_and_instructions_become_the_conversation_they_say(client, red_square):
    items = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [picture(red_square), {"type": "input_text", "text": "What is this?"}]},
        {"type": "message", "role": "assistant", "content": "A red circle."},
        {"role": "user", "content": "Left?"},
    ]
    response = ask(client, input=items, instructions="A system.").json()
    conversation = [
        {"role": "system", "content": "A system."},
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [engine_picture(), {"type": "text", "text": "What is this?"}]},
        {"role": "assistant", "content": "A red circle."},
        {"role": "user", "content": "Left?"},
    ]
    reply = client.state.engine.chat(conversation, max_new_tokens=6)
    assert text_of(response) == reply.text
    assert response["usage"]["input_tokens"] == reply.usage.prompt_tokens
    assert response["usage"]["input_tokens_details"]["image_tokens"] == 16
    assert response["instructions"] == "A system."


def test_an_answer_can_be_sent_back_as_it_came(client):
    fields = {"include": ["message.output_text.logprobs"]}
    first = ask(client, **fields).json()
    items = [{"role": "user", "content": "What is this?"}, *first["output"], {"role": "user", "content": "Why?"}]
    second = ask(client, input=items)
    assert second.status_code == 200
    conversation = [
        {"role": "user", "content": "What is this?"},
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "Why?"},
    ]
    assert text_of(second.json()) == client.state.engine.chat(conversation, max_new_tokens=6).text


def test_an_uploaded_picture_is_the_same_picture(client, red_square):
    buffer = io.BytesIO()
    engine_picture()["image"].save(buffer, "PNG")
    file = client.post("/v1/files", files={"file": ("a.png", buffer.getvalue())}, data={"purpose": "vision"}).json()

    def asked(part):
        return ask(client, input=[{"role": "user", "content": [part]}]).json()

    by_id, by_uri = asked({"type": "input_image", "file_id": file["id"]}), asked(picture(red_square))
    assert text_of(by_id) == text_of(by_uri)


def test_the_events_tell_the_whole_answer_in_order_and_are_numbered(client):
    from openai.types.responses import ResponseStreamEvent

    whole, events = ask(client).json(), stream(client)
    reader = TypeAdapter(ResponseStreamEvent)
    for event in events:
        assert reader.validate_python(event, strict=True).type == event["type"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert deltas
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * len(deltas),
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{whole['status']}",
    ]
    done, part, item, last = events[-4:]
    assert "".join(deltas) == done["text"] == part["part"]["text"] == text_of(whole)
    assert last["response"]["output"] == [item["item"]]
    assert item["item"]["content"] == [part["part"]]
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    assert len({event["item_id"] for event in events if "item_id" in event} | {item["item"]["id"]}) == 1


def test_whole_and_streamed_responses_differ_in_ids_times_and_cache_alone(client):
    def plain(response):
        for name in ("id", "created_at", "completed_at"):
            del response[name]
        del response["output"][0]["id"]
        del response["usage"]["input_tokens_details"]["cached_tokens"]
        return response

    fields = {"metadata": {"a": "b"}, "temperature": 0.0, "top_p": 0.5, "user": "someone", "store": True}
    streamed = stream(client, **fields)[-1]["response"]
    assert plain(ask(client, **fields).json()) == plain(streamed)
    assert streamed["metadata"] == {"a": "b"}
    assert streamed["top_p"] == 0.5
    assert streamed["store"] is False, "nothing is kept, whatever is asked"


def test_an_answer_that_is_cut_says_so(client):
    for response in (ask(client, max_output_tokens=1).json(), stream(client, max_output_tokens=1)[-1]["response"]):
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert response["output"][0]["status"] == "incomplete"
        assert response["completed_at"] is None


def test_log_probabilities_are_the_engines_and_their_bytes_join_to_the_text(client):
    fields = {"include": ["message.output_text.logprobs"], "top_logprobs": 3}
    whole = ask(client, **fields).json()["output"][0]["content"][0]
    events = stream(client, **fields)
    streamed = [one for event in events if event["type"].endswith("delta") for one in event["logprobs"]]
    assert streamed == whole["logprobs"] == events[-1]["response"]["output"][0]["content"][0]["logprobs"]
    spoken = b"".join(bytes(one["bytes"]) for one in whole["logprobs"])
    assert spoken.decode(errors="replace") == whole["text"]
    reply = client.state.engine.chat([{"role": "user", "content": "What is this?"}], max_new_tokens=6, logprobs=3)
    ends = client.state.engine.end_tokens
    expected = [one.logprob for one in reply.logprobs if one.token not in ends]
    assert [one["logprob"] for one in whole["logprobs"]] == pytest.approx(expected)
    for one in whole["logprobs"]:
        assert len(one["top_logprobs"]) == 3
        assert one["top_logprobs"][0]["logprob"] == pytest.approx(one["logprob"]), "greedy takes the likeliest"
        assert sum(math.exp(top["logprob"]) for top in one["top_logprobs"]) <= 1 + 1e-6


SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


def test_a_schema_holds_the_answer_to_it_and_is_repeated_in_the_response(client):
    asked = {"type": "json_schema", "name": "fine", "schema": SCHEMA, "strict": True}
    response = ask(client, text={"format": asked}, max_output_tokens=40).json()
    assert response["status"] == "completed"
    assert set(json.loads(text_of(response))) == {"ok"}
    assert response["text"] == {"format": asked}


def test_a_failure_on_the_way_ends_the_stream_with_an_event_that_tells_nothing_of_it(client, monkeypatch):
    from sightline.serving.answering import Choices

    def fail(self, index):
        raise RuntimeError("/secret/path is on fire")

    monkeypatch.setattr(Choices, "reply", fail)
    events = stream(client)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["sequence_number"] == len(events) - 1
    assert events[-1]["response"]["status"] == "failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert "secret" not in json.dumps(events)


USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "role": "user"}]}, "input[0]"),
        ({"input": [USER, {"role": "assistant", "content": "x"}]}, "input"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": []}]}, "input[0].content"),
        ({"input": [{**USER, "name": "Ann"}]}, "input[0].name"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": 1}]}]}, "input[0].content[0].text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x", "file_id": "x"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"input": [{"role": "system", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "assistant", "content": [{"type": "refusal"}]}, USER]}, "input[0].content[0]"),
        ({"nonsense": 1}, "nonsense"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"truncation": "auto"}, "truncation"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"max_output_tokens": 2**63}, "max_output_tokens"),
        ({"max_output_tokens": 1e9}, "max_output_tokens"),
        ({"max_output_tokens": "6"}, "max_output_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 1e9}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"top_logprobs": 21, "include": ["message.output_text.logprobs"]}, "top_logprobs"),
        ({"include": ["reasoning.encrypted_content"]}, "include[0]"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "b" * 513}}, "metadata"),
        ({"metadata": {"a" * 65: "b"}}, "metadata"),
        ({"metadata": {str(number): "b" for number in range(17)}}, "metadata"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "nothing"}}}},
            "text.format.schema",
        ),
    ],
)
def test_what_is_wrong_is_a_400_that_names_the_field(client, fields, param):
    answer = ask(client, **fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert answer.headers["x-should-retry"] == "false"


def test_null_is_the_default_where_clients_send_it(client):
    names = ["previous_response_id", "conversation", "background", "tools", "tool_choice", "reasoning", "truncation"]
    assert ask(client, **dict.fromkeys([*names, "text", "include", "stream", "metadata", "instructions"])).is_success


def test_another_model_is_not_found(client):
    answer = ask(client, model="gpt-6")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.fixture
def openai(served):
    from openai import OpenAI

    with OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def shown(uri, text="What is this?"):
    return [{"role": "user", "content": [picture(uri), {"type": "input_text", "text": text}]}]


def test_the_openai_client_creates_and_streams_the_same_answer(openai, red_square):
    asked = {"model": "sightline-tiny", "input": shown(red_square)}
    response = openai.responses.create(**asked)
    assert "red" in response.output_text.lower()
    assert response.usage.input_tokens > 196
    with openai.responses.stream(**asked) as events:
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        final = events.get_final_response()
    assert "".join(pieces) == final.output_text == response.output_text
    assert final.usage.input_tokens_details.cached_tokens > 0
    raw = [event.type for event in openai.responses.create(**asked, stream=True)]
    assert raw[0] == "response.created"
    assert raw[-1] == "response.completed"


def test_the_openai_client_goes_on_from_its_own_outputs(openai, red_square):
    items = shown(red_square)
    response = openai.responses.create(model="sightline-tiny", input=items)
    items += response.output
    items.append({"role": "user", "content": "What colour is it?"})
    assert openai.responses.create(model="sightline-tiny", input=items).status == "completed"


def test_the_openai_client_parses_a_model(openai, red_square):
    class Seen(BaseModel):
        round: bool

    asked = {"model": "sightline-tiny", "input": shown(red_square, "Is it round?"), "text_format": Seen}
    response = openai.responses.parse(**asked)
    assert isinstance(response.output_parsed, Seen)
    with openai.responses.stream(**asked) as events:
        assert events.get_final_response().output_parsed == response.output_parsed


def test_the_openai_client_raises_what_is_wrong_by_name(openai):
    from openai import BadRequestError

    with pytest.raises(BadRequestError) as refused:
        openai.responses.create(model="sightline-tiny", input="x", previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_is_written_down_where_no_other_stream_waits_for_it(client, monkeypatch, streamed):
    """With log probabilities it takes a large part of a second; the event loop goes on meanwhile."""
    from sightline.serving.response_events import Writing

    threads, ended = [], Writing._ended
    monkeypatch.setattr(
        Writing, "_ended", lambda *given: (threads.append(threading.current_thread().name), ended(*given))[1]
    )
    stream(client) if streamed else ask(client)
    assert [name.startswith("sightline-reader") for name in threads] == [True]
