"""What the OpenAPI document allows and what it does not, at random: no answer is a 5xx, and the server stays well."""

import contextlib
import warnings

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: pip install -e '.[dev]'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("bystander"),
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
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers={"Host": "127.0.0.1"})
    seen = {}
    for operation in (result.ok() for result in schema.get_all_operations()):

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(case=operation.as_strategy(generation_mode=MODES[mode]))
        def ask(case):
            response = answerable(case).call(session=client, headers={"Host": "127.0.0.1"})
            seen.setdefault(case.operation.label, set()).add(response.status_code)
            assert response.status_code < 500 or response.status_code == 503, case.as_curl_command()
            if response.status_code >= 400:
                assert set(response.json()) == {"error"}, case.as_curl_command()

        with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
            ask()
        assert client.get("/health").status_code == 200
    chat = seen["POST /v1/chat/completions"]
    assert (200 in chat) if mode == "positive" else (400 in chat and len(seen) >= 6), seen
