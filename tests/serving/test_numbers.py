"""Every field of every route, with every number that has broken a server: a 400 that names it, at once.

The fields come from the schemas, those of nested objects too (of chats and completions), so a new one is tried without
a word here; where one of these values means something, `MEANT` says so.
"""

import copy
import json

import pytest

from sightline.serving.schemas.chat import ChatRequest
from sightline.serving.schemas.completions import CompletionRequest
from sightline.serving.schemas.decisions import DecisionRequest, ScoreRequest
from sightline.serving.schemas.explain import ExplainRequest
from sightline.serving.schemas.responses import ResponseRequest

from .bystander import SEED

pytestmark = pytest.mark.usefixtures("bystander")

VALUES = ["-1", "0", "9223372036854775808", "NaN", "1e9", "1e999", '"a string"', "true", "null", "-9223372036854775809"]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "auto"}}
SCHEMA = {"name": "a", "schema": {"type": "object"}, "description": "d", "strict": True}
CHAT = {
    "model": "tiny",
    "messages": [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}, PICTURE]},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
    ],
    "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    "logprobs": True,
    "logit_bias": {"300": 1},
    "stop": ["a"],
    "stream": True,
    "stream_options": {},
    "metadata": {"a": "b"},
}
COMPLETION = {"model": "tiny", "prompt": "a"} | {
    name: CHAT[name] for name in ("logit_bias", "stop", "stream", "stream_options", "metadata")
}

# Where the fields of nested objects stand. The class's name and the field's; the schemas say which there must be.
NESTED = {
    "SystemMessage": ("messages", 0),
    "UserMessage": ("messages", 1),
    "PastAnswer": ("messages", 2),
    "TextPart": ("messages", 1, "content", 0),
    "ImagePart": ("messages", 1, "content", 1),
    "ImageURL": ("messages", 1, "content", 1, "image_url"),
    "FilePart": ("messages", 3, "content", 0),
    "FileRef": ("messages", 3, "content", 0, "file"),
    "JsonSchemaFormat": ("response_format",),
    "JsonSchema": ("response_format", "json_schema"),
    "StreamOptions": ("stream_options",),
}
# Their one field tells them from the others, which is tried with `JsonSchemaFormat`.
ALIKE = {"TextFormat", "JsonObjectFormat"}
ITEMS = [("logit_bias", "300"), ("stop", 0), ("metadata", "a"), ("messages", 0), ("modalities", 0), ("choice", 0)]

NULL = {"null"}
MEANT = {
    "model": {'"a string"'},  # a 404
    "temperature": {"0"},
    "top_k": {"0"},
    "top_p": {"0"},
    "min_p": {"0"},
    "frequency_penalty": {"-1", "0"},
    "presence_penalty": {"-1", "0"},
    "seed": {"-1", "0"},
    "stop": {'"a string"'},
    "stream": {"true"},
    "logprobs": {"true"},
    "top_logprobs": {"0"},
    "regex": {'"a string"'},
    "user": {'"a string"'},
    "store": {"true"},
    "parallel_tool_calls": {"true"},
    "prompt_cache_key": {'"a string"'},
    "safety_identifier": {'"a string"'},
    "echo": {"true"},
    "prompt": {'"a string"'},
    "logit_bias.300": {"-1", "0"},
    "stop[0]": {'"a string"'},
    "choice[0]": {'"a string"'},
    "metadata.a": {'"a string"'},
    "messages[0].content": {'"a string"'},
    "messages[1].content": {'"a string"'},
    "messages[2].content": {'"a string"'},
    "messages[1].content[0].text": {'"a string"'},
    "messages[1].content[1].image_url.url": {'"a string"'},  # refused where pictures are read
    "messages[3].content[0].file.file_id": {'"a string"'},
    "messages[2].parsed": set(VALUES) - {"NaN", "1e999"},
    "response_format.json_schema.name": {'"a string"'},
    "response_format.json_schema.description": {'"a string"'},
    "response_format.json_schema.strict": {"true"},
    "stream_options.include_usage": {"true"},
}
REQUIRED = {"model", "messages", "prompt", "role", "content", "type", "text", "image_url", "url", "file", "file_id"}
REQUIRED |= {"json_schema", "schema", "300", "a", 0}


def places(kind):
    """Every field of `kind`, by where it stands in a body."""
    found = [(field,) for field in kind.model_fields]
    schema = kind.model_json_schema()
    for name, definition in schema.get("$defs", {}).items():
        if name not in ALIKE:
            found += [(*NESTED[name], field) for field in definition["properties"]]
    return found + [place for place in ITEMS if place[0] in kind.model_fields]


def dotted(place):
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def with_value(sample, place, value):
    """`sample` as JSON, with `value` at `place`, which is made where it is not there."""
    body, mark = copy.deepcopy(sample), "<here>"
    if place[0] == "top_logprobs":
        body["logprobs"] = True
    if place[0] == "stream":
        del body["stream_options"]
    if place[0] in ("regex", "choice", "modalities"):
        body.pop("response_format")
        body.setdefault(place[0], ["text"] if len(place) > 1 else None)
    at = body
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = mark
    return json.dumps(body).replace(json.dumps(mark), value)


def cases():
    for path, kind, sample in (
        ("/v1/chat/completions", ChatRequest, CHAT),
        ("/v1/completions", CompletionRequest, COMPLETION),
    ):
        for place in places(kind):
            yield pytest.param(path, sample, place, id=f"{path}:{dotted(place)}")


@pytest.fixture(scope="module")
def untouched(client):
    """The client of a server that lets nobody but the bystander in; a request that would have come in is a 409."""
    from sightline.serving.errors import APIError

    answering = client.state.answering
    start = answering.start

    async def refuse(params, read, **options):
        if params[0].seed == SEED:
            return await start(params, read, **options)
        raise APIError("taken", status=409)

    def refuse_at_once(*_):
        raise AssertionError("it was let in elsewhere")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answering, "start", refuse)
        patch.setattr(client.state.grammars, "compile", refuse_at_once)
        yield client


@pytest.mark.parametrize(("path", "sample", "place"), list(cases()))
def test_odd_values_are_refused_by_name(untouched, path, sample, place):
    field = dotted(place)
    meant = MEANT.get(field, set()) | (set() if place[-1] in REQUIRED or field.endswith("schema.name") else NULL)
    if path == "/v1/completions" and field == "logprobs":
        meant = {"0", "null"}
    for value in VALUES:
        answer = untouched.post(
            path, content=with_value(sample, place, value), headers={"Content-Type": "application/json"}
        )
        if value in meant:
            wanted = {404} if field == "model" else {409}
            assert answer.status_code in wanted, (value, answer.text)
            continue
        assert answer.status_code == 400, (value, answer.text)
        error = answer.json()["error"]
        if value not in ("NaN", "1e999"):  # which are no JSON, or no number
            param = error["param"]
            # What tells the members of a union apart is refused where the union stands.
            assert param == field or (place[-1] in ("role", "type") and param == dotted(place[:-1])), (value, error)


TEXT = [{"role": "user", "content": "a"}]
INCLUDED = ["message.output_text.logprobs"]  # with which `top_logprobs` goes
QUESTION = {"type": "predicate", "instructions": "Is it?"}
OTHERS = {
    "/v1/responses": (ResponseRequest, {"model": "tiny", "input": "a", "max_output_tokens": 1, "include": INCLUDED}),
    # Its picture is none, which is said behind everything that is asked of fields.
    "/v1/explain": (ExplainRequest, {"model": "tiny", "messages": CHAT["messages"][1:2], "answer": "A"}),
    "/v1/score": (ScoreRequest, {"model": "tiny", "messages": TEXT, "choices": ["a", "b"]}),
    "/v1/decisions": (DecisionRequest, {"model": "tiny", "input": "a", "questions": [QUESTION]}),
}
MEANT_THERE = MEANT | {
    "prompt": set(),  # an unsupported field there
    "input": {'"a string"'},
    "instructions": {'"a string"'},
    "answer": {'"a string"'},
    "occlusion": {"true"},
    "rollout": {"true"},
    "layer": {"0"},
    "head": {"0"},
}
NEVER_NULL = {"model", "input", "messages", "choices", "questions", "occlusion", "rollout"}


@pytest.mark.parametrize("path", OTHERS)
def test_odd_values_of_the_other_routes_are_refused_by_name(untouched, path):
    kind, sample = OTHERS[path]
    for field in kind.model_fields:
        meant = MEANT_THERE.get(field, set()) | (set() if field in NEVER_NULL else NULL)
        for value in VALUES:
            body = json.dumps(sample | {field: "<here>"}).replace('"<here>"', value)
            answer = untouched.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (200, 400, 404, 409), (field, value, answer.text)
            named = answer.status_code == 400 and answer.json()["error"]["param"] == field
            refused = named or (answer.status_code == 400 and value in ("NaN", "1e999"))
            assert refused != (value in meant), (field, value, answer.text)
