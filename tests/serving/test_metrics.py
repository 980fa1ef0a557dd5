"""What is counted and written down of a request: tokens and times, never what was asked or who asked it."""

import io
import json
import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from sightline.engine.request import Reply, Timings, Usage
from sightline.serving.logs import JsonLines, configure_logs

from .small_app import make_app, make_state


@pytest.fixture
def client():
    state = make_state(api_keys=("secret-key",))
    with TestClient(make_app(state), base_url="http://localhost", raise_server_exceptions=False) as client:
        client.state = state
        client.headers["authorization"] = "Bearer secret-key"
        yield client


def samples(client):
    """The values of /metrics by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status(client):
    client.get("/v1/used/one")
    client.get("/v1/used/two")
    client.get("/v1/made-up/by/a/stranger")
    client.request("MADEUP", "/health")
    found = samples(client)

    def requests(route, method, status):
        labels = ("method", method), ("route", route), ("status", status)
        return found["sightline_requests_total", *labels]

    assert requests("/v1/used/{name}", "GET", "200") == 2
    assert requests("unmatched", "GET", "404") == 1
    assert requests("/health", "OTHER", "405") == 1
    assert found["sightline_request_seconds_count", ("route", "/v1/used/{name}")] == 2


def test_an_answer_is_counted_by_its_tokens_and_times(client):
    usage = Usage(prompt_tokens=20, completion_tokens=11, image_tokens=16, cached_tokens=5)
    timings = Timings(queued=0.02, first_token=0.3, total=0.8, completion_tokens=11)
    client.state.metrics.answered(Reply("a secret", (), "length", usage, timings))
    client.state.metrics.answered(Reply("", (), "cancelled", Usage(prompt_tokens=3), Timings()))
    client.state.metrics.failed()
    found = samples(client)
    assert found["sightline_prompt_tokens_total",] == 23
    assert found["sightline_cached_prompt_tokens_total",] == 5
    assert found["sightline_image_tokens_total",] == 16
    assert found["sightline_completion_tokens_total",] == 11
    assert found["sightline_answers_total", ("finish_reason", "length")] == 1
    assert found["sightline_answers_total", ("finish_reason", "failed")] == 1
    assert found["sightline_time_to_first_token_seconds_sum",] == 0.3
    assert found["sightline_time_to_first_token_seconds_count",] == 1
    assert found["sightline_time_per_output_token_seconds_sum",] == pytest.approx(0.05)
    assert found["sightline_tokens_per_second_sum",] == pytest.approx(20)


def test_the_engines_counters_are_read_when_they_are_asked_for(client):
    client.state.engine.load = (2, 5)
    client.state.engine.stats |= {"prefix_hit_tokens": 7, "image_hits": 3, "image_misses": 1}
    found = samples(client)
    assert found["sightline_answers_running",] == 2
    assert found["sightline_answers_waiting",] == 5
    assert found["sightline_prefix_cache_hit_tokens_total",] == 7
    assert found["sightline_image_cache_hits_total",] == 3
    assert found["sightline_image_cache_misses_total",] == 1


def test_every_counter_of_the_engine_has_a_name(tiny):
    from sightline.engine.engine import Engine
    from sightline.serving.metrics import _ENGINE, Metrics

    with Engine(*tiny, kv_cache_bytes=2**20) as engine:
        assert engine.stats.keys() == _ENGINE.keys()
        assert b"sightline_engine_steps_total 0.0" in Metrics(engine).render()
        assert engine.ping(5) is None
    with pytest.raises(RuntimeError, match="closed"):
        engine.ping(5)


def test_two_servers_count_apart(client):
    make_state().metrics.rejected("queue")
    assert ("sightline_rejections_total", ("reason", "queue")) not in samples(client)


def test_ready_says_whether_the_engine_answers(client):
    assert client.get("/ready").json() == {"status": "ready"}

    def stuck(seconds):
        raise TimeoutError

    client.state.engine.ping = stuck
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "the engine does not answer"
    assert client.get("/health").json() == {"status": "ok"}


def test_a_broken_engine_is_neither_ready_nor_healthy(client):
    client.state.engine.is_broken = True
    for path in ("/health", "/ready"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.json()["error"]["message"] == "the engine fails: start the server anew"


def test_ready_says_that_the_server_stops(client):
    client.state.answering._closing = True
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200


@pytest.fixture
def lines():
    """What is logged, a dict a line."""
    stream = io.StringIO()
    before = [(one, one.handlers, one.propagate, one.level) for one in map(logging.getLogger, _LOGGERS)]
    configure_logs(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for logger, handlers, propagate, level in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


_LOGGERS = ("sightline", "uvicorn.error", "asyncio", "python_multipart")


def test_a_request_is_a_line_with_its_tokens(client, lines):
    answer = client.get("/v1/used/very-secret?prompt=also-secret")
    (line,) = lines()
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["method"] == "GET"
    assert line["route"] == "/v1/used/{name}"
    assert line["status"] == 200
    assert 0 < line["seconds"] < 5
    assert (line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"]) == (7, 3, 2)
    assert len(line["key"]) == 8
    assert "secret" not in json.dumps(line)
    assert line["time"].endswith("+00:00")


def test_the_body_and_a_made_up_path_are_not_written_down(client, lines):
    client.post("/v1/echo", json={"prompt": "secret"})
    client.post("/v1/echo", content=b'{"secret', headers={"content-type": "application/json"})
    client.get("/secret")
    client.get("/health", headers={"authorization": "Bearer secret", "x-request-id": "secret"})
    assert [line["status"] for line in lines()] == [200, 400, 404, 200]
    assert "secret" not in json.dumps(lines())


def test_an_upload_that_is_none_is_a_line_of_json_and_no_more(make_client, lines, caplog):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    with make_client() as client:
        client.post("/v1/files", content=b"secret", headers=headers)
    assert [line["status"] for line in lines()] == [400]
    assert [record for record in caplog.records if record.name.startswith("python_multipart")] == []


def test_one_without_a_key_is_nobodys(client, lines):
    client.headers.pop("authorization")
    client.get("/v1/who")
    assert lines()[0]["key"] is None
    assert lines()[0]["status"] == 401


def test_a_failure_is_a_500_that_tells_nothing_and_a_line_that_tells_where(client, lines):
    answer = client.get("/v1/fail")
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": "the server failed on this request",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    failure, request = lines()
    assert failure["level"] == "error"
    assert failure["traceback"].endswith("RuntimeError")
    assert "in fail\n" in failure["traceback"]
    assert "secret /path" not in failure["traceback"].replace('raise RuntimeError("secret /path/of/mine")', "")
    assert request["status"] == 500
    assert request["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("messages", [False, True])
def test_what_an_error_says_is_written_down_only_where_that_is_asked_for(messages):
    def quote(prompt):
        try:
            raise KeyError(prompt)
        except KeyError as error:
            raise ValueError(f"cannot read {prompt}") from error

    try:
        quote("se" + "cret")
    except ValueError as error:
        told = (ValueError, error, error.__traceback__)
        text = "a task failed\nfuture: <Task exception=ValueError('cannot read sec" + "ret')>"
        line = JsonLines(messages).format(logging.LogRecord("asyncio", logging.ERROR, "", 0, text, (), told))
    assert ("secret" in line) is messages
    assert json.loads(line)["traceback"].index("KeyError") < json.loads(line)["traceback"].rindex("ValueError")
    assert "in quote" in line


def test_a_line_stays_one_line():
    record = logging.LogRecord("a", logging.INFO, "", 0, "two\nlines %s", ('"x"',), None)
    text = JsonLines().format(record)
    assert "\n" not in text
    assert json.loads(text)["message"] == 'two\nlines "x"'
