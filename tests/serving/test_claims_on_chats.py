"""What others' servers are tested for in chats, restated for this one: the official client, a real server, the default
model.

| claim (v: vLLM, l: llama.cpp) | test |
|---|---|
| v, l log probabilities: none, zero, some; too many are a 400, and the next is answered | `test_logprobs_*` |
| v, l the tokens join to the text, streamed or not; all are from -9999 to 0, under a grammar too | `test_tokens_*` |
| v usage adds up, what is cut says `length`, and a second turn goes on | `test_a_conversation_goes_on` |
| v, l chunks join to the whole; the last has the reason to finish, the first the role | `test_chunks_*` |
| v `stream_options`: usage in the last chunk or in none; without a stream a 400 | `test_usage_of_a_stream_*` |
| v, l `n` answers by index; one seed says one thing, others say others | `test_n_*`, `test_seeds_*` |
| v, l `response_format`: text, an object, a schema to the letter; a wrong one is a 400 | `test_forms_*` |
| v text in parts is the same text | `test_text_in_parts_*` |
| v, l messages that are none, a body that is no object, a seed of 65 bits: 400 | `test_invalid_*` |
| v, l a bias for the last token is taken, beyond it or by name a 400; -100 silences | `test_a_bias_*` |
| v, l a prompt too long is a 400, streamed or not | `test_a_prompt_too_long_*` |
| l a stop text ends the answer, and no chunk holds it | `test_a_stop_text_*` |
| v, l pictures of every kind are seen, and count as the processor counts them | `test_pictures_*` |
| v, l a picture's URL as a bare string, empty, malformed or `file://` is a 400 | `test_a_picture_that_is_none_*` |
| v several pictures are taken, and one too many is a 400 | `test_several_pictures_*` |

Where this server differs it says so with a 400 that names the field: `prompt_logprobs`, `continuous_usage_stats`, other
roles, unknown fields of a message, a picture's `uuid` (`test_what_others_take_*`).
"""

import json
import re

import httpx
import openai
import pytest
from PIL import Image

from .asking import part
from .official import HELLO, MODEL, about, refused, square


@pytest.fixture(scope="module")
def chat(official):
    """Ask in a chat."""
    return lambda messages=HELLO, **fields: official.chat.completions.create(
        model=MODEL, messages=messages, **{"max_tokens": 8, **fields}
    )


@pytest.fixture(autouse=True)
def answers_the_next_one(official, served):
    yield
    assert official.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=1).choices
    assert httpx.get(f"{served.url}/health").status_code == 200


def test_logprobs_are_as_many_as_are_asked_for(chat):
    assert chat(logprobs=False).choices[0].logprobs is None
    for count in (0, 5, 20):
        tokens = chat(logprobs=True, top_logprobs=count).choices[0].logprobs.content
        assert tokens
        assert [len(token.top_logprobs) for token in tokens] == [count] * len(tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_beyond_the_limit_are_refused(chat, stream):
    refused(lambda: chat(logprobs=True, top_logprobs=21, stream=stream), "top_logprobs")


@pytest.mark.parametrize("form", [{}, {"extra_body": {"choice": ["a duck", "no"]}}])
def test_tokens_join_to_the_text(chat, form):
    asked = {"logprobs": True, "top_logprobs": 10, **form}
    choice, text, streamed = chat(**asked).choices[0], "", []
    for chunk in chat(**asked, stream=True):
        text += chunk.choices[0].delta.content or ""
        streamed += chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else []
    assert text == choice.message.content
    for tokens in (choice.logprobs.content, streamed):
        assert "".join(token.token for token in tokens) == text
        assert b"".join(bytes(token.bytes) for token in tokens) == text.encode()
        assert all(-9999 <= one.logprob <= 0 for token in tokens for one in [token, *token.top_logprobs])


def test_a_conversation_goes_on(chat):
    messages = [{"role": "system", "content": "Be brief."}, *about(square())]
    first = chat(messages, max_completion_tokens=5, max_tokens=openai.omit)
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    assert first.usage.completion_tokens <= 5
    assert chat(messages, max_tokens=1).choices[0].finish_reason == "length"
    messages += [first.choices[0].message, {"role": "user", "content": "And how many are there?"}]
    second = chat(messages)
    assert second.choices[0].message.content
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


def test_chunks_join_to_the_whole_answer(chat):
    messages = about(square())
    whole = chat(messages).choices[0]
    chunks = list(chat(messages, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + [whole.finish_reason]


def test_usage_of_a_stream_is_in_its_last_chunk_or_in_none(chat):
    for options in ({"include_usage": False}, {}):
        assert all(chunk.usage is None for chunk in chat(stream=True, stream_options=options))
    *others, last = chat(stream=True, stream_options={"include_usage": True})
    assert all(chunk.usage is None for chunk in others)
    assert last.choices == []
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens > 0


@pytest.mark.parametrize("options", [{"include_usage": True}, {"include_usage": None}])
def test_usage_of_a_stream_without_one_is_refused(official, chat, options):
    refused(lambda: chat(stream=False, stream_options=options), "stream_options")
    asked = {"model": MODEL, "prompt": "a", "stream_options": options}
    refused(lambda: official.completions.create(**asked), "stream_options")


def test_n_answers_have_their_indices(chat):
    assert [choice.index for choice in chat(n=3, temperature=1, seed=1).choices] == [0, 1, 2]
    assert len(chat().choices) == 1
    texts = ["", ""]
    for chunk in chat(n=2, temperature=1, seed=1, stream=True, extra_body={"regex": "[a-z]{3}"}):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert [len(text) for text in texts] == [3, 3]


def test_seeds_are_kept_to(chat):
    def said(seed):
        return chat(temperature=1.5, seed=seed, max_tokens=16).choices[0].message.content

    assert said(1) == said(1)
    assert len({said(seed) for seed in range(4)}) > 1


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


def test_forms_are_kept_to(chat):
    assert chat(response_format={"type": "text"}).choices[0].message.content is not None
    (choice,) = chat(response_format={"type": "json_object"}, max_tokens=200).choices
    assert choice.finish_reason == "length" or isinstance(json.loads(choice.message.content), dict)
    (choice,) = chat(response_format=form({"const": "fooo"}), max_tokens=20).choices
    assert (choice.message.content, choice.finish_reason) == ('"fooo"', "stop")
    counted = {"type": "object", "properties": {"n": {"enum": [1, 22, 333]}}, "required": ["n"]}
    counted |= {"additionalProperties": False}
    (choice,) = chat(response_format=form(counted), max_tokens=30).choices
    assert json.loads(choice.message.content)["n"] in (1, 22, 333)
    (choice,) = chat(extra_body={"regex": r"[0-9]{1,3}\.[0-9]{1,3}"}, max_tokens=20).choices
    assert re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", choice.message.content)


SCHEMA = "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"type": "sound"}, "response_format"),
        ({"type": "json_object", "schema": 123}, "response_format.schema"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, SCHEMA),
        (form(123), SCHEMA),
        (form({"type": 123}), SCHEMA),
        (form({"type": "hiccup"}), SCHEMA),
        (form({"properties": {"a": "text"}}), SCHEMA),
    ],
)
def test_forms_that_are_none_are_refused(chat, asked, param):
    refused(lambda: chat(response_format=asked), param)


@pytest.mark.parametrize("asked", [{"regex": {"1": "a"}}, {"regex": "[.*"}, {"choice": "a"}])
def test_forms_of_the_wrong_type_are_refused(chat, asked):
    refused(lambda: chat(extra_body=asked), *asked)


def test_text_in_parts_is_the_same_text(chat):
    parts = [{"role": "user", "content": [{"type": "text", "text": HELLO[0]["content"]}]}]
    assert chat(parts).choices[0].message.content == chat().choices[0].message.content
    two = [{"role": "user", "content": [{"type": "text", "text": text} for text in ("What is", " this?")]}]
    assert chat(two).usage.prompt_tokens >= chat().usage.prompt_tokens


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ("text", "messages"),
        ([], "messages"),
        ([123], "messages[0]"),
        ([{}], "messages[0]"),
        ([{"role": 123}], "messages[0]"),
        ([{"content": "hello"}], "messages[0]"),
        ([{"role": "system", "content": 123}], "messages[0].content"),
        ([{"role": "system", "content": "a"}, {}], "messages[1]"),
        ([*HELLO, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}], "messages"),
    ],
)
def test_invalid_messages_are_refused_by_their_place(chat, messages, param):
    refused(lambda: chat(messages), param)


@pytest.mark.parametrize("body", ["not JSON {", '["a"]', "42", '"a"', "null", ""])
@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses", "decisions", "score", "explain"])
def test_invalid_bodies_are_refused(served, path, body):
    headers = {"content-type": "application/json"}
    assert httpx.post(f"{served.url}/v1/{path}", content=body, headers=headers).status_code == 400
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert httpx.post(f"{served.url}/v1/{path}", content=body, headers=form).status_code == 415


@pytest.mark.parametrize("seed", [-(2**63) - 1, 2**63])
def test_invalid_seeds_are_refused(chat, seed):
    refused(lambda: chat(seed=seed), "seed")


def test_a_bias_is_for_a_token_there_is(chat, official):
    last = official.state.model.config.vocab_size - 1
    assert chat(logit_bias={str(last): 1}).choices
    assert str(last) in refused(lambda: chat(logit_bias={str(last + 1): 1}), "logit_bias").message
    refused(lambda: chat(logit_bias={"no_token": 50}), "logit_bias")
    refused(lambda: chat(logit_bias={"1": "no number"}), "logit_bias.1")


def test_a_bias_of_minus_100_silences_a_token(chat, official):
    said = chat().choices[0].message.content
    ids = official.state.processor.encode_text(said)
    silenced = chat(logit_bias=dict.fromkeys(map(str, ids), -100), logprobs=True).choices[0]
    assert silenced.logprobs.content
    assert not {token.token for token in silenced.logprobs.content} & {
        official.state.processor.decode([i]) for i in ids
    }


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_too_long_is_refused_before_a_stream_begins(chat, official, stream):
    error = refused(
        lambda: chat([*HELLO, {"role": "assistant", "content": "A duck."}] * 100 + HELLO, stream=stream), "messages"
    )
    assert error.code == "context_length_exceeded"
    assert str(official.state.model.config.max_position_embeddings) in error.message


def test_a_stop_text_ends_the_answer_and_is_in_no_chunk(chat):
    whole = chat(about(square()), max_tokens=16).choices[0].message.content
    stop = whole[len(whole) // 2 :][:3]
    pieces = [
        chunk.choices[0].delta.content or "" for chunk in chat(about(square()), max_tokens=16, stop=[stop], stream=True)
    ]
    assert "".join(pieces) == whole[: whole.index(stop)]
    assert chat(about(square()), max_tokens=16, stop=[stop]).choices[0].finish_reason == "stop"


@pytest.mark.parametrize("kind", [("RGB", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("RGB", "WEBP")])
def test_pictures_of_every_kind_are_seen_and_counted_as_the_processor_does(chat, official, kind):
    answer = chat(about(square("red", *kind)), max_tokens=12, logprobs=True, top_logprobs=5)
    assert "red" in answer.choices[0].message.content.lower()
    content = [{"type": "image", "image": Image.new("RGB", (224, 224))}]
    content.append({"type": "text", "text": "What colour is the square?"})
    ids = official.state.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    assert answer.usage.prompt_tokens == len(ids[0])


def test_pictures_in_grey_are_read(chat):
    grey = chat(about(square("black", "L")), max_tokens=12)
    assert grey.choices[0].message.content == chat(about(square("black")), max_tokens=12).choices[0].message.content


@pytest.mark.parametrize("url", ["malformed", "https://example.org/404", "file:///etc/passwd", "file://../a.png", ""])
def test_a_picture_that_is_none_is_refused(chat, url):
    refused(lambda: chat(about(url)), "messages[0].content[0].image_url")


@pytest.mark.parametrize("image", [square(), {}, None])
def test_a_picture_that_is_none_of_an_object_is_refused(chat, image):
    parts = [{"type": "image_url", "image_url": image}]
    where = "messages[0].content[0].image_url" + (".url" if image == {} else "")
    refused(lambda: chat([{"role": "user", "content": parts}]), where)


def test_several_pictures_are_taken_and_one_too_many_is_refused(chat, official):
    most = official.state.settings.limits.images
    two = chat(about(square("red"), square("blue")))
    assert two.usage.prompt_tokens_details.image_tokens == 2 * official.state.processor.num_image_tokens
    refused(lambda: chat(about(*[square()] * (most + 1))), f"messages[0].content[{most}].image_url")
    items = [{"role": "user", "content": [{"type": "input_image", "image_url": square()}] * (most + 1)}]
    refused(lambda: official.responses.create(model=MODEL, input=items), f"input[0].content[{most}].image_url")


WHAT_OTHERS_TAKE = [
    ({"extra_body": {"prompt_logprobs": 1}}, "prompt_logprobs"),
    ({"extra_body": {"min_tokens": 1}}, "min_tokens"),
    ({"extra_body": {"structured_outputs": {"choice": ["a"]}}}, "structured_outputs"),
    ({"extra_body": {"grammar": 'root ::= "a"'}}, "grammar"),
    ({"extra_body": {"use_beam_search": True}}, "use_beam_search"),
    ({"extra_body": {"cache_prompt": False}}, "cache_prompt"),
    ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ({"messages": [{**HELLO[0], "extra": "0"}]}, "messages[0].extra"),
    ({"messages": [{"role": "my-role", "content": "a"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": [{**part(square()), "uuid": "a"}]}]}, "messages[0].content[0].uuid"),
]


@pytest.mark.parametrize(("fields", "param"), WHAT_OTHERS_TAKE, ids=[param for _, param in WHAT_OTHERS_TAKE])
def test_what_others_take_and_this_server_cannot_is_refused_by_name(chat, fields, param):
    refused(lambda: chat(**fields), param)
