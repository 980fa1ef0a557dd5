"""Servers for the tests: in this process over a model with random weights, and one real one over the default."""

import base64
import contextlib
import dataclasses
import gc
import io

import pytest
from PIL import Image

from sightline.serving.settings import Limits, Settings

from .bystander import beside_client


@pytest.fixture(scope="session")
def tiny(tiny_model_folder):
    """A model with random weights, and its processor."""
    import sightline

    loaded = sightline.load(str(tiny_model_folder), dtype="float32")
    # Tests of memory collect garbage before they begin: not all of torch and transformers each time.
    gc.collect()
    gc.freeze()
    return loaded


@pytest.fixture(scope="session")
def make_client(tiny):
    """A context manager: a client of an app of its own, with other settings and limits if asked for."""
    from starlette.testclient import TestClient

    from sightline.serving.app import create_app
    from sightline.serving.state import build_state

    @contextlib.contextmanager
    def make(limits=None, engine=None, **settings):
        options = {"kv_cache_bytes": 4 * 2**20, **(engine or {})}
        chosen = Settings("tiny", limits=dataclasses.replace(Limits(), **(limits or {})), **settings)
        state = build_state(*tiny, chosen, **options)
        with TestClient(create_app(state), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            client.state = state
            yield client

    return make


@pytest.fixture(scope="module")
def client(make_client):
    """A client of an app over the model with random weights; `client.state` is what the app shares."""
    with make_client() as client:
        yield client


@pytest.fixture
def bystander(client):
    """Another client's stream goes on beside whatever the test does to `client`'s server, and is unharmed.

    Each module of attacks uses it for all its tests: `pytestmark = pytest.mark.usefixtures("bystander")`.
    """
    with beside_client(client, model=client.state.settings.model_name):
        yield


@pytest.fixture(scope="module")
def stream_beside(client):
    """As `bystander`, one stream beside all tests of a module: for attacks that reach the process, not the server."""
    with beside_client(client, model=client.state.settings.model_name):
        yield


@pytest.fixture
def stays_well(client):
    """The server of `client` says that it is well after the test."""
    yield
    assert client.get("/health").status_code == 200


@pytest.fixture(scope="session")
def served():
    """A real server over the default model, on a port of its own: `.url`, `.state`."""
    import sightline
    from sightline.serving.app import create_app
    from sightline.serving.server import Running
    from sightline.serving.state import build_state

    model, processor = sightline.load("sightline-tiny", dtype="float32")
    state = build_state(model, processor, Settings("sightline-tiny"))
    with Running(create_app(state), state) as running:
        yield running


def data_uri(image, format="PNG", **options):
    """`image` as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@pytest.fixture(scope="session")
def as_data_uri():
    return data_uri


@pytest.fixture(scope="session")
def red_square():
    """A red square on white, as a data URI."""
    image = Image.new("RGB", (40, 40), "white")
    image.paste("red", (10, 10, 30, 30))
    return data_uri(image)


@pytest.fixture(scope="session")
def official(served):
    """OpenAI's client of the real server; `official.state` is what that shares."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        client.state = served.state
        yield client


@pytest.fixture(scope="module")
def grammars(tiny):
    """The tiny model's grammars, within the usual limits."""
    from sightline.serving.grammar import Grammars
    from sightline.serving.settings import Limits

    model, processor = tiny
    grammars = Grammars(processor, [model.config.eos_token_id], model.config.vocab_size, Limits())
    yield grammars
    grammars.close()
