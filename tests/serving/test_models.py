"""`GET /v1/models`: the one model, by the name that requests have for it."""

import pytest


def test_the_list_and_the_model_itself_say_the_same(client):
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert model == client.get("/v1/models/tiny").json()
    assert model["id"] == "tiny"
    assert model["object"] == "model"
    assert model["created"] == client.state.created


@pytest.mark.parametrize("name", ["other", "tiny/", "a/b", "%2e%2e%2fetc", "TINY"])
def test_another_name_is_not_found(client, name):
    answer = client.get(f"/v1/models/{name}")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "not_found_error")
    assert answer.headers["x-should-retry"] == "false"
    assert client.get("/health").status_code == 200


def test_a_name_may_have_a_slash_as_hub_ids_do(tiny):
    from starlette.testclient import TestClient

    from sightline.serving.app import create_app
    from sightline.serving.settings import Settings
    from sightline.serving.state import build_state

    state = build_state(*tiny, Settings("org/tiny"), kv_cache_bytes=4 * 2**20)
    with TestClient(create_app(state), base_url="http://127.0.0.1") as client:
        assert client.get("/v1/models/org/tiny").json()["id"] == "org/tiny"


def test_the_openai_client_lists_and_retrieves(served):
    from openai import NotFoundError, OpenAI

    with OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        (model,) = client.models.list()
        assert model == client.models.retrieve(model.id)
        with pytest.raises(NotFoundError) as refused:
            client.models.retrieve("gpt-6")
    assert refused.value.code == "model_not_found"
