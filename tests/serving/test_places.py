"""A request has its place before anything is done for it: a full server opens no picture and compiles no grammar."""

import pytest

from .asking import ask, part, refused
from .bystander import beside_client
from .pictures import data_uri, encoded, noise

ROUTES = {
    "chat": ("/v1/chat/completions", lambda uri: {"messages": [{"role": "user", "content": [part(uri)]}]}),
    "score": ("/v1/score", lambda uri: {"messages": [{"role": "user", "content": [part(uri)]}], "choices": ["a"]}),
    "response": ("/v1/responses", lambda uri: {"input": items(uri)}),
    "decision": ("/v1/decisions", lambda uri: {"input": items(uri), "questions": [QUESTION]}),
    "explain": (
        "/v1/explain",
        lambda uri: {"messages": [{"role": "user", "content": [part(uri)]}], "occlusion": False},
    ),
}
QUESTION = {"type": "predicate", "instructions": "Is it round?"}


def items(uri):
    return [{"role": "user", "content": [{"type": "input_image", "image_url": uri}]}]


@pytest.mark.parametrize("route", ROUTES)
def test_a_full_server_opens_no_picture_and_compiles_no_grammar(make_client, monkeypatch, route):
    path, body = ROUTES[route]
    with make_client(limits={"queue": 0}, engine={"max_batch_size": 1}) as client:
        for module in ("images.decode_picture", "grammar.grammar_source"):
            monkeypatch.setattr(f"sightline.serving.{module}", lambda *_: pytest.fail("it was worked on"))
        asked = {"model": "tiny", **body(data_uri(encoded(noise())))}
        if route == "chat":
            asked["regex"] = "a+"
        with client.state.answering.place():
            response = client.post(path, json=asked)
            files = client.post("/v1/files", files={"file": ("a.png", encoded(noise()))}, data={"purpose": "vision"})
        for refusal in (response, files):
            assert refusal.status_code == 429, refusal.text
            assert refusal.json()["error"]["code"] == "queue_full"
        assert client.state.answering.taken == 0
        monkeypatch.undo()
        answer = client.post(path, json=asked)  # what random weights say may hold no word to explain
        assert answer.status_code == 200 or answer.json()["error"]["param"] == "answer", answer.text
        assert client.state.answering.taken == 0
        assert client.get("/health").status_code == 200


def test_more_answers_than_there_will_ever_be_places_for_are_a_400(make_client):
    with make_client(limits={"queue": 1}, engine={"max_batch_size": 1}) as client, beside_client(client, picture=False):
        message = refused(ask(client, n=3), "n")
        assert message == "3 answers are more than the 2 that this server has places for: ask for fewer"
