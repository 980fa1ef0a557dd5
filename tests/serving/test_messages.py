"""Messages: which are taken, how much of them, and what is said of the others. Nothing wrong reaches a picture."""

import pytest

HELLO = {"role": "user", "content": "What is this?"}


def text(value):
    return {"type": "text", "text": value}


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


@pytest.fixture
def heard(client, monkeypatch):
    """What the engine is asked, instead of it being asked; a request that gets so far is answered 409."""
    from sightline.serving.errors import APIError

    asked = []

    async def start(params, read, *, salt=b""):
        asked.extend((await read()).prompts)
        raise APIError("taken", status=409)

    monkeypatch.setattr(client.state.answering, "start", start)
    return asked


def ask(client, messages, **fields):
    return client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, **fields})


def refused(answer, param, status=400):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    return error["message"]


def test_roles_and_parts_reach_the_engine_in_order(client, heard, red_square):
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [text("Look:"), image(red_square, detail="low"), text("what is it?")]},
        {"role": "assistant", "content": [text("A square.")], "refusal": None, "tool_calls": None, "audio": None},
        {"role": "assistant", "content": "Yes.", "tool_calls": [], "annotations": []},
        {"role": "system", "content": [text("Now in Chinese.")]},
        HELLO,
    ]
    assert ask(client, messages).status_code == 409
    (found,) = heard
    assert [one["role"] for one in found] == ["system", "user", "assistant", "assistant", "system", "user"]
    first, picture, last = found[1]["content"]
    assert (first["text"], last["text"]) == ("Look:", "what is it?")
    assert picture["type"] == "image"
    assert picture["image"].mode == "RGB"
    assert picture["image"].size == (40, 40)
    assert picture["image"].getpixel((20, 20)) == (255, 0, 0)
    assert found[5]["content"] == [text("What is this?")]


def test_an_uploaded_picture_is_seen_as_the_one_that_is_sent(client, heard, red_square):
    import base64

    data = base64.b64decode(red_square.partition(",")[2])
    file_id = client.post("/v1/files", files={"file": ("s.png", data)}, data={"purpose": "vision"}).json()["id"]
    messages = [{"role": "user", "content": [{"type": "file", "file": {"file_id": file_id}}, image(red_square)]}]
    assert ask(client, messages).status_code == 409
    stored, sent = (part["image"] for part in heard[0][0]["content"])
    assert stored.tobytes() == sent.tobytes()


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("What is this?", "messages"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"content": "x"}], "messages[0]"),
        (["x"], "messages[0]"),
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}], "messages[0]"),
        ([{"role": "function", "content": "x", "name": "f"}], "messages[0]"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": [text("a"), "b"]}], "messages[0].content[1]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [text("a") | {"bold": True}]}], "messages[0].content[0].bold"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "messages[0].content[0].image_url"),
        ([{"role": "user", "content": [image("x", detail="huge")]}], "messages[0].content[0].image_url.detail"),
        ([{"role": "user", "content": [image("x", key="1")]}], "messages[0].content[0].image_url.key"),
        ([{"role": "user", "content": [{"type": "file", "file": {}}]}], "messages[0].content[0].file.file_id"),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"file_id": "a", "file_data": "x"}}]}],
            "messages[0].content[0].file.file_data",
        ),
        ([{"role": "user", "content": "x", "name": "Ann"}], "messages[0].name"),
        ([{"role": "system", "content": [image("x")]}, HELLO], "messages[0].content[0].type"),
        ([{"role": "assistant", "content": "x", "tool_calls": [{}]}, HELLO], "messages[0].tool_calls"),
        ([{"role": "assistant", "content": None}, HELLO], "messages[0].content"),
        ([HELLO, {"role": "assistant", "content": "A square and"}], "messages"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_its_place(client, heard, messages, param):
    assert "sightline" not in refused(ask(client, messages), param)
    assert not heard


def test_tools_are_refused_in_words(client, heard):
    called = [{"role": "assistant", "content": "x", "tool_calls": [{}]}, HELLO]
    assert "this server does not support it: leave it out" in refused(ask(client, called), "messages[0].tool_calls")


def test_a_picture_that_is_none_is_named_by_its_place(client, heard):
    messages = [HELLO, {"role": "user", "content": [text("a"), image("data:image/png;base64,AAAA")]}]
    refused(ask(client, messages), "messages[1].content[1].image_url")
    messages[1]["content"][1] = {"type": "file", "file": {"file_id": "file-none"}}
    refused(ask(client, messages), "messages[1].content[1].file.file_id", status=404)
    assert not heard


def test_too_much_is_refused_before_a_picture_is_opened(make_client, monkeypatch, red_square):
    from sightline.serving import messages as module

    async def opened(*_):
        raise AssertionError("a picture was opened")

    monkeypatch.setattr(module, "read_image", opened)
    with make_client({"messages": 3, "prompt_chars": 20, "images": 2}) as client:
        refused(ask(client, [HELLO] * 4), "messages")
        many = [{"role": "user", "content": [text("a" * 10), image(red_square)]}]
        message = refused(ask(client, [*many, {"role": "user", "content": "b" * 11}]), "messages")
        assert "21 characters" in message
        # A thousand of them are as few bytes as the limit of bodies lets through.
        many = [{"role": "user", "content": [image("data:,")] * 1000}]
        assert "1000 pictures" in refused(ask(client, many), "messages[0].content[2].image_url")
        assert client.get("/health").status_code == 200


def test_a_prompt_too_long_for_the_model_is_the_messages_fault(client):
    answer = ask(client, [{"role": "user", "content": "duck " * 300}])
    refused(answer, "messages")
    assert answer.json()["error"]["code"] == "context_length_exceeded"


# The client warns of its own parsed answer when it sends that back.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_the_history_of_the_openai_client_comes_back_as_it_was_given(served):
    from typing import Literal

    from openai import OpenAI
    from pydantic import BaseModel

    class Thing(BaseModel):
        name: Literal["square", "duck"]

    messages = [{"role": "user", "content": "What is this?"}]
    with OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as asking:
        first = asking.chat.completions.create(model="sightline-tiny", messages=messages, max_tokens=4)
        messages += [first.choices[0].message, {"role": "user", "content": "And now?"}]
        second = asking.chat.completions.parse(
            model="sightline-tiny", messages=messages, response_format=Thing, max_tokens=60
        )
        messages += [second.choices[0].message, {"role": "user", "content": "And then?"}]
        third = asking.chat.completions.create(model="sightline-tiny", messages=messages, max_tokens=4)
    assert third.usage.prompt_tokens > second.usage.prompt_tokens > first.usage.prompt_tokens
