"""What others' servers are tested for beside chats, restated for this one: completions, responses, keys, impatience.

| claim (v: vLLM, l: llama.cpp) | test |
|---|---|
| v, l completions of texts and ids are alike, and so are answers to equal prompts | `test_completions_of_texts_*` |
| v log probabilities: none, zero, some; too many are a 400 | `test_completions_tell_*` |
| v, l no prompt, an empty one, an id beyond the vocabulary: 400 | `test_completions_of_nothing_*` |
| v the prompt is echoed; l one seed says one thing | `test_completions_put_*`, `test_completions_of_one_seed_*` |
| v a token's offset is the same streamed and whole | `test_offsets_*` |
| v, l responses: events open and close in pairs, with ids that agree | `test_responses_open_*` |
| v text, parts, instructions, turns with and without ids, pictures | `test_responses_take_*` |
| v log probabilities, in each delta too | `test_responses_tell_*` |
| v, l a schema to the letter, none is a 400; one that is cut is `incomplete` | `test_responses_are_held_*` |
| v many that give up waiting leave a server that answers at once | `test_clients_that_give_up_*` |
| l a missing or a wrong key is a 401; the page and `/health` need none | `test_keys_*` |

Where this server differs it says so with a 400 that names the field: text among token ids, `top_k` in responses
(`test_what_others_take_*`). It reads no `X-Api-Key` and sends no CORS headers (`test_security.py`).
"""

from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from .official import HELLO, MODEL, refused, square


@pytest.fixture(autouse=True)
def answers_the_next_one(official, served):
    yield
    assert official.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=1).choices
    assert httpx.get(f"{served.url}/health").status_code == 200


@pytest.fixture(scope="module")
def complete(official):
    return lambda prompt, **fields: official.completions.create(
        model=MODEL, prompt=prompt, **{"max_tokens": 5, **fields}
    )


def test_completions_of_texts_and_ids_are_alike(complete, official):
    text = "A red duck is"
    ids = official.state.processor.encode_text(text)
    by_text, by_ids = complete(text), complete(ids)
    assert by_text.choices[0].text == by_ids.choices[0].text
    assert by_text.usage.prompt_tokens == len(ids)
    assert by_text.usage.total_tokens == len(ids) + by_text.usage.completion_tokens
    for prompts in ([text] * 2, [ids] * 2):
        batch = complete(prompts, n=2, temperature=1, seed=1)
        assert [choice.index for choice in batch.choices] == [0, 1, 2, 3]
        texts = [choice.text for choice in batch.choices]
        assert texts[:2] == texts[2:]
        streamed = [""] * 2
        for chunk in complete(prompts, stream=True):
            for choice in chunk.choices:
                streamed[choice.index] += choice.text
        assert streamed == [by_text.choices[0].text] * 2


def test_completions_tell_as_many_log_probabilities_as_are_asked_for(complete):
    assert complete("A red").choices[0].logprobs is None
    for count in (0, 3, 5):
        told = complete("A red", logprobs=count).choices[0].logprobs
        assert all(max(count, 1) <= len(top) <= count + 1 for top in told.top_logprobs)
        assert len(told.tokens) == len(told.token_logprobs) == len(told.text_offset)
    for stream in (False, True):
        refused(lambda stream=stream: complete("A red", logprobs=6, stream=stream), "logprobs")


@pytest.mark.parametrize("prompt", [[], "", [[]], [""], [999_999], [-1], None])
def test_completions_of_nothing_or_of_no_token_are_refused(complete, prompt):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(prompt)
    assert caught.value.param.startswith("prompt")


def test_completions_put_the_prompt_first_where_it_is_asked_for(complete):
    assert complete("A red", echo=True).choices[0].text == "A red" + complete("A red").choices[0].text


def test_completions_of_one_seed_are_one(complete):
    texts = [choice.text for choice in complete("A", n=4, temperature=1.5, seed=7, max_tokens=16).choices]
    assert texts == [choice.text for choice in complete("A", n=4, temperature=1.5, seed=7, max_tokens=16).choices]
    assert len(set(texts)) > 1


def test_offsets_are_the_same_streamed_and_whole(complete):
    asked = {"logprobs": 0, "stop": ["\n\n"], "max_tokens": 12}
    whole = complete("左上角", **asked).choices[0]
    streamed = [chunk.choices[0].logprobs for chunk in complete("左上角", **asked, stream=True)]
    assert [offset for one in streamed if one for offset in one.text_offset] == whole.logprobs.text_offset
    for offset, token in zip(whole.logprobs.text_offset, whole.logprobs.tokens, strict=True):
        assert whole.text[offset:].startswith(token) or "\\x" in token


PAIRS = {
    "response.created": ("response.completed", "response.incomplete"),
    "response.output_item.added": ("response.output_item.done",),
    "response.content_part.added": ("response.content_part.done",),
}


@pytest.fixture(scope="module")
def respond(official):
    return lambda given="What is this?", **fields: official.responses.create(
        model=MODEL, input=given, **{"max_output_tokens": 12, **fields}
    )


def test_responses_open_and_close_in_pairs_and_keep_their_ids(respond):
    events = list(respond(stream=True))
    assert events[0].type == "response.created"
    open_ = []
    for event in events:
        if event.type in PAIRS:
            open_.append(PAIRS[event.type])
        elif open_ and event.type in open_[-1]:
            open_.pop()
    assert open_ == []
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1
    items = {event.item.id for event in events if hasattr(event, "item")}
    assert items | {event.item_id for event in events if hasattr(event, "item_id")} == items
    (item,) = items
    assert item.startswith("msg_")
    assert events[-1].response.id.startswith("resp_")
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == events[-1].response.output_text == respond().output_text


def test_responses_take_text_parts_turns_and_pictures(respond):
    typed = respond([{"role": "user", "content": [{"type": "input_text", "text": "What is this?"}]}])
    assert typed.output_text == respond().output_text
    told = respond("Hello?", instructions="Be brief.")
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    assert told.output_text == respond(turns).output_text
    past = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A duck."}]}
    again = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where?"}]}
    for more in ({}, {"id": "msg_1", "status": "completed"}):
        told = respond([turns[1], past | more, again])
        assert told.status == "completed"
        assert told.usage.input_tokens > respond([turns[1], again]).usage.input_tokens
    shown = [{"type": "input_image", "image_url": square(), "detail": "auto"}]
    shown.append({"type": "input_text", "text": "What colour is the square?"})
    assert "red" in respond([{"role": "user", "content": shown}]).output_text.lower()


FOOO = {"format": {"type": "json_schema", "name": "test", "schema": {"const": "fooo"}, "description": "A word."}}


def test_responses_tell_log_probabilities_in_each_delta(respond):
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 5, "max_output_tokens": 20, "text": FOOO}
    assert {len(one.top_logprobs) for one in respond(**asked).output[0].content[0].logprobs} == {5}
    deltas = [event for event in respond(**asked, stream=True) if event.type == "response.output_text.delta"]
    assert deltas
    for delta in deltas:
        assert delta.logprobs
        assert all(one.logprob <= 0 and len(one.top_logprobs) == 5 for one in delta.logprobs)


def test_responses_are_held_to_a_schema_and_say_where_they_are_cut(respond):
    assert respond(text=FOOO, max_output_tokens=20).output_text == '"fooo"'
    assert respond(text={"format": {"type": "text"}}).status == "completed"
    refused(lambda: respond(text={"format": {"type": "json_schema", "name": "test"}}), "text.format.schema")
    cut = respond(text=FOOO, max_output_tokens=1)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_clients_that_give_up_leave_a_server_that_answers_at_once(served, official):
    end = str(official.state.engine.end_tokens[0])
    asked = {"model": MODEL, "messages": HELLO, "max_tokens": 900, "logit_bias": {end: -100}}

    def give_up(_):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{served.url}/v1/chat/completions", json=asked, timeout=httpx.Timeout(30, read=0.5))

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(give_up, range(24)))
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=20) as other:
        assert other.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4).choices


def test_what_others_take_in_completions_and_responses_is_refused_by_name(complete, respond):
    with pytest.raises(openai.BadRequestError) as caught:
        complete([70, "a"])
    assert caught.value.param.startswith("prompt")
    refused(lambda: respond(extra_body={"top_k": 40}), "top_k")
    refused(lambda: respond(extra_body={"seed": 4}), "seed")


def test_keys_are_asked_for_everywhere_but_at_the_door(make_client):
    with make_client(api_keys=("secret",)) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code in (200, 404)  # where the page was not built
        body = {"model": "tiny", "prompt": "a", "max_tokens": 1}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "secret"}):
            answer = client.post("/v1/completions", json=body, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
            assert client.get("/v1/models", headers=headers).status_code == 401
        official = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="secret", http_client=client)
        assert len(official.completions.create(**body).choices) == 1
