"""What the OpenAPI document allows and what it does not, at random: no answer is a 5xx, each is as documented."""

import contextlib
import warnings

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: pip install -e '.[dev]'")
    from schemathesis.specs.openapi import checks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("bystander"),
]


@pytest.fixture(scope="module")
def client(tiny):
    """A client of a real server over random weights, and what it shares: in its process schemathesis would end it."""
    import httpx

    from sightline.serving.app import create_app
    from sightline.serving.server import Running
    from sightline.serving.settings import Settings
    from sightline.serving.state import build_state

    state = build_state(*tiny, Settings("tiny"), kv_cache_bytes=4 * 2**20)
    with Running(create_app(state), state) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        client.state = state
        yield client


# "Documented" of an answer: its status, its content type, its headers and every field of its body.
DOCUMENTED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
MODES = {"positive": schemathesis.GenerationMode.POSITIVE, "negative": schemathesis.GenerationMode.NEGATIVE}


def answerable(case):
    """The case with the served model's name, and short: every other name is a 404 that tells nothing."""
    if isinstance(case.body, dict) and "model" in case.body:
        case.body = {**case.body, "model": "tiny"}
        for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
            if isinstance(case.body.get(name), int) and case.body[name] > 4:
                case.body[name] = 4
    return case


@pytest.mark.parametrize("mode", MODES)
def test_nothing_that_is_sent_makes_the_server_fail(client, mode):
    schema = schemathesis.openapi.from_url(f"{str(client.base_url).rstrip('/')}/openapi.json")
    seen = {}
    for operation in (result.ok() for result in schema.get_all_operations()):

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(case=operation.as_strategy(generation_mode=MODES[mode]))
        def ask(case):
            response = answerable(case).call()
            seen.setdefault(case.operation.label, set()).add(response.status_code)
            assert response.status_code < 500 or response.status_code == 503, case.as_curl_command()
            if response.status_code >= 400:
                assert set(response.json()) == {"error"}, case.as_curl_command()
            case.validate_response(response, checks=DOCUMENTED)

        with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
            ask()
        assert client.get("/health").status_code == 200
    chat = seen["POST /v1/chat/completions"]
    assert (200 in chat) if mode == "positive" else (400 in chat and len(seen) >= 6), seen
