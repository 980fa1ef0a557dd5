"""Bodies: what is too large, too deep or no JSON is refused before anything is made of it."""

import json
import time

import pytest
from starlette.testclient import TestClient

from sightline.serving.bodies import _HELD, BodyLimit, parse_json
from sightline.serving.errors import APIError
from sightline.serving.settings import Limits

from .small_app import beside_small, make_app, make_state

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client():
    state = make_state({"body_bytes": 300_000, "json_depth": 5})
    with TestClient(make_app(state), base_url="http://localhost", raise_server_exceptions=False) as client:
        client.state = state
        yield client


@pytest.fixture(autouse=True)
def bystander(client):
    with beside_small(client):
        yield


def refused(client, body, status=400, headers=JSON):
    answer = client.post("/v1/echo", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "\n" not in error["message"]
    return error["message"]


def test_json_comes_through_as_it_is(client):
    body = {"a": [1, 2.5, None, True, "鸭 😀 \u0000"], "b": {"": {}}}
    assert client.post("/v1/echo", content=json.dumps(body), headers=JSON).json() == body
    assert (
        client.post("/v1/echo", content=b"{}", headers={"content-type": "Application/JSON; charset=UTF-8"}).json() == {}
    )


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_100_000_deep_is_refused_at_once(client, opening):
    began = time.perf_counter()
    assert refused(client, opening * 50_000 + b"1") == "the body's JSON is nested too deeply"
    assert time.perf_counter() - began < 1


def test_the_depth_that_is_allowed_is_the_last_one():
    limits = Limits(json_depth=5)
    assert parse_json(b"[[[[[1]]]]]", limits) == [[[[[1]]]]]
    with pytest.raises(APIError, match="too deeply"):
        parse_json(b"[[[[[[1]]]]]]", limits)
    with pytest.raises(APIError, match="too deeply"):
        parse_json(b'{"a": [{"b": [{"c": {}}]}]}', limits)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00"}',
        b'{"a": "\\ud800\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b"\xff\xfe{\x00}\x00",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"{'a': 1}",
        b'{"a": 1,}',
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_parsers_disagree_about_is_refused(client, body):
    assert refused(client, body).startswith("the body is not JSON in UTF-8")


def test_a_number_beyond_floats_is_refused(client):
    assert refused(client, b'{"a": [1e999]}') == "the body has a number that is too large for a float"


def test_a_number_of_too_many_digits_is_said_to_be_one(client):
    assert refused(client, b'{"a": ' + b"1" * 5000 + b"}") == "the body has a number with too many digits"


@pytest.mark.parametrize(
    ("body", "name"), [(b'{"a": 1, "b": 2, "a": 1}', "a"), (b'[{"b": [{"c d": 1, "c\\u0020d": 2}]}]', "c d")]
)
def test_a_field_that_comes_twice_is_named(client, body, name):
    assert refused(client, body) == f"the body has two fields {name} in one object: give it once"


def test_a_name_may_come_again_in_another_object(client):
    assert client.post("/v1/echo", content=b'{"a": {"a": [{"a": 1}, {"a": 2}]}}', headers=JSON).is_success


def test_a_field_in_the_address_is_named(client):
    answer = client.post("/v1/echo?n=2", content=b"{}", headers=JSON)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "n")


@pytest.mark.parametrize(
    "options", ["charset=utf8", 'charset="UTF-8"', "charset=utf-8; x=y", "x=y", "a*0*", "a*\xb2=x", ";" * 9000]
)
def test_a_content_type_may_have_parameters(client, options):
    kind = {"content-type": f"application/json;{options}".encode("latin-1")}
    assert client.post("/v1/echo", content=b"{}", headers=kind).is_success


def test_the_place_of_an_error_is_named(client):
    assert refused(client, b'{"a": 1,\n "b" 2}').endswith("see line 2 column 6")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "multipart/form-data", "application/xml", "application/json; charset=latin1", "a/b " + "(" * 1000],
)
def test_another_content_type_is_refused(client, kind):
    assert "Content-Type: application/json" in refused(client, b"{}", 415, {"content-type": kind})


def test_two_content_types_none_and_a_compressed_body_are_refused(client):
    refused(client, b"{}", 415, [("content-type", "application/json"), ("content-type", "text/plain")])
    refused(client, b"{}", 415, {})
    assert "compressed" in refused(client, b"{}", 415, JSON | {"content-encoding": "gzip"})


def test_no_body_is_a_missing_body(client):
    assert refused(client, b"") == "a body is missing"


def test_a_body_beyond_the_limit_is_refused_by_its_length_alone(client):
    assert "300000 bytes" in refused(client, b"{}", 413, JSON | {"content-length": "300001"})
    assert client.post("/v1/echo", content=b'{"a": "' + b"a" * 299_990 + b'"}', headers=JSON).status_code == 200


def test_a_body_that_grows_beyond_the_limit_is_refused_while_it_comes(client):
    taken = []

    def endless():
        while True:
            taken.append(1)
            assert len(taken) < 1000
            yield b"a" * 10_000

    # The client of the tests sends all of it at once, so the middleware is asked itself.
    assert run_limit(endless(), 300_000) == 413
    assert len(taken) == 31


def test_what_makes_many_small_parts_is_refused_before_it_is_parsed():
    body = b"[" + b"{}," * 10_000_000 + b"1]"
    began = time.perf_counter()
    with pytest.raises(APIError, match="parts, which no request needs") as caught:
        parse_json(body, Limits())
    assert caught.value.status == 413
    assert time.perf_counter() - began < 2


def test_a_prompt_full_of_commas_is_no_reason_to_refuse():
    limits = Limits()
    text = ",[{" * (limits.prompt_chars // 3)
    assert parse_json(json.dumps({"a": text}).encode(), limits) == {"a": text}


def test_bodies_together_are_bounded_too_and_given_back():
    async def app(scope, receive, send):
        raise AssertionError("it is not asked")

    limit = BodyLimit(app, Limits(body_bytes=100), lambda reason: None)
    limit._held = _HELD * 100 - 10
    assert run_limit([b"a" * 11], 100, limit) == 429
    assert limit._held == _HELD * 100 - 10


def run_limit(chunks, body_bytes, limit=None):
    """The status that the middleware answers to these chunks, without an application."""
    import asyncio

    statuses, chunks = [], iter(chunks)

    async def receive():
        return {"type": "http.request", "body": next(chunks), "more_body": True}

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"transfer-encoding", b"chunked")]}
    asyncio.run((limit or BodyLimit(None, Limits(body_bytes=body_bytes), lambda reason: None))(scope, receive, send))
    return statuses[0]


def test_a_long_list_is_refused_before_each_of_it_is_said_to_be_wrong():
    with pytest.raises(APIError, match="parts, which no request needs") as caught:
        parse_json(b'{"messages": [' + b"1," * 50_000 + b"1]}", Limits())
    assert caught.value.status == 413
