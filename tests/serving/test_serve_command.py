"""`sightline serve` as its user calls it: what it refuses before a model is loaded, what it prints, what it sets up."""

import importlib.util
import json
import os
import shlex
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from sightline.cli import main


@pytest.fixture
def serve(monkeypatch, capsys, tiny_model_folder, tiny):
    """Call the command; what would be served is kept in `run.state`, and the server ends at once."""
    monkeypatch.delenv("SIGHTLINE_API_KEY", raising=False)
    monkeypatch.setattr("sightline.interop.load.load", lambda *_: tiny)
    from sightline.serving import server

    def instead(app, state, listener, on_start):
        run.state, run.address = state, listener.getsockname()
        on_start(server.address_of(listener))
        state.engine.close()

    def run(*words):
        run.state = None
        # Without a size half a gigabyte is made.
        code = main(["serve", "--model", str(tiny_model_folder), "--port", "0", "--kv-cache-mib", "4", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    monkeypatch.setattr(server, "serve", instead)
    monkeypatch.setattr(
        "sightline.serving.logs.configure_logs", lambda messages: setattr(run, "logs_messages", messages)
    )
    return run


def test_it_says_where_it_is_and_how_to_try_it(serve):
    code, out, _ = serve("--served-name", "small")
    port = serve.address[1]
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith(f"small answers at http://127.0.0.1:{port} ")
    words = shlex.split(second)
    assert words[:2] == ["curl", f"http://127.0.0.1:{port}/v1/chat/completions"]
    assert json.loads(words[-1])["model"] == "small"
    assert "Authorization" not in second


@pytest.mark.parametrize("words", [(), ("--debug",)])
def test_what_errors_say_is_logged_with_debug_alone(serve, words):
    assert serve(*words)[0] == 0
    assert serve.logs_messages is bool(words)


def test_without_options_it_listens_to_this_machine_alone_and_goes_nowhere(serve, tiny_model_folder):
    serve()
    settings = serve.state.settings
    assert serve.address[0] == "127.0.0.1"
    assert settings.model_name == tiny_model_folder.name
    assert (settings.api_keys, settings.image_hosts, settings.allowed_hosts) == ((), (), ("127.0.0.1",))


def test_the_model_may_stand_by_itself(monkeypatch, serve, tiny):
    loaded = []
    monkeypatch.setattr("sightline.interop.load.load", lambda name, *_: loaded.append(name) or tiny)
    assert main(["serve", "runs/mine", "--port", "0", "--kv-cache-mib", "4"]) == 0
    assert loaded == ["runs/mine"]
    code, _, err = serve("runs/mine")
    assert (code, loaded) == (2, ["runs/mine"])
    assert "serve takes one model, but was given 'runs/mine' and --model" in err
    assert main(["serve", "runs/mine", "--model", "sightline-tiny"]) == 2


def test_options_reach_the_settings_and_the_engine(serve):
    options = (
        "--api-key one --api-key two --allowed-hosts Proxy.example,10.0.0.1,[::2],::3 --allow-image-urls *.example.org"
    )
    options += " --queue 3 --max-tokens 9 --max-images 2 --max-body-mib 1 --shutdown-seconds 5 --max-batch-size 4"
    assert serve(*options.split())[0] == 0
    settings = serve.state.settings
    assert settings.api_keys == ("one", "two")
    assert settings.allowed_hosts == ("127.0.0.1", "proxy.example", "10.0.0.1", "[::2]", "::3")
    assert settings.image_hosts == ("*.example.org",)
    limits = settings.limits
    assert (limits.queue, limits.max_tokens, limits.images, limits.body_bytes) == (3, 9, 2, 2**20)
    assert limits.shutdown_seconds == 5
    assert serve.state.engine.max_batch_size == 4


def test_keys_come_from_the_environment_and_are_never_printed(serve, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_API_KEY", "very-secret other")
    _, out, err = serve()
    assert serve.state.settings.api_keys == ("very-secret", "other")
    assert "very-secret" not in out + err
    assert '"Authorization: Bearer $SIGHTLINE_API_KEY"' in out


@pytest.mark.parametrize("value", ["", "  "])
def test_a_variable_for_keys_without_one_is_no_server_without_keys(serve, monkeypatch, value):
    monkeypatch.setenv("SIGHTLINE_API_KEY", value)
    code, _, err = serve("--model", "no-such-model")
    assert code == 2
    assert "SIGHTLINE_API_KEY is set, but there is no key in it" in err
    assert serve("--api-key", "one")[0] == 0


def test_the_help_names_the_environment_variable_and_why(serve):
    _, out, _ = serve("--help")
    text = " ".join(out.split())
    assert "SIGHTLINE_API_KEY" in text
    assert "list of processes" in text


def test_an_open_address_without_a_key_is_refused_before_a_model_is_loaded(serve):
    code, _, err = serve("--host", "0.0.0.0", "--model", "no-such-model")
    assert code == 2
    assert err.count("\n") == 1
    assert "SIGHTLINE_API_KEY" in err
    assert "--insecure" in err


def test_an_open_address_is_served_with_a_key_or_where_it_is_meant(serve):
    code, _, err = serve("--host", "0.0.0.0", "--insecure")
    assert code == 0
    assert "there is no API key" in err
    assert serve.state.settings.allowed_hosts == ()
    code, _, err = serve("--host", "0.0.0.0", "--api-key", "one")
    assert code == 0
    assert "no API key" not in err


def test_localhost_needs_no_key(serve):
    assert serve("--host", "localhost")[0] == 0


def test_a_taken_port_is_one_line_before_a_model_is_loaded(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = serve("--port", str(taken.getsockname()[1]), "--model", "no-such-model")
    assert code == 2
    assert err.count("\n") == 1
    assert "is taken: give another --port" in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--api-key", ""], "an API key is"),
        (["--api-key", "two words"], "an API key is"),
        (["--api-key", "键"], "an API key is"),
        (["--allowed-hosts", "a,,b"], "--allowed-hosts is names"),
        (
            ["--allowed-hosts", "*.example.org"],
            "--allowed-hosts is whole names, each of them, without ports, but not '*.example.org'",
        ),
        (["--allowed-hosts", "example.org:8443"], "without ports, but not 'example.org:8443'"),
        (["--allow-image-urls", "https://example.org/"], "--allow-image-urls is names"),
        (["--allow-image-urls", "example.org:8080"], "names without ports"),
        *((["--allow-image-urls", name], "names of the internet") for name in ("*", "1.2.3.4", "localhost", "a*.b.c")),
        (["--port", "65536"], "--port"),
        (["--kv-cache-mib", "0"], "--kv-cache-mib"),
    ],
)
def test_what_cannot_be_meant_is_refused(serve, words, complaint):
    code, _, err = serve(*words, "--model", "no-such-model")
    assert code == 2
    assert complaint in err
    assert err.count("\n") == 1


def test_what_is_not_installed_is_named_with_the_extra_that_has_it(serve, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("sightline.commands.serve.find_spec", lambda name: None if name == "uvicorn" else found(name))
    code, _, err = serve()
    assert code == 2
    assert err == "sightline: serve needs uvicorn: pip install 'sightline[serve]'\n"


def test_fetching_pictures_needs_a_client(serve, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("sightline.commands.serve.find_spec", lambda name: None if name == "httpx2" else found(name))
    assert serve()[0] == 0
    code, _, err = serve("--allow-image-urls", "images.example.org")
    assert code == 2
    assert err == "sightline: serve needs httpx2: pip install 'sightline[serve]'\n"


@pytest.mark.slow
def test_the_process_serves_the_default_model_until_it_is_told_to_stop(tmp_path):
    command = [sys.executable, "-m", "sightline.cli", "serve", "--port", "0"]
    environment = {**os.environ, "SIGHTLINE_API_KEY": "secret-key"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        first = process.stdout.readline()
        url = next(word for word in first.split() if word.startswith("http://"))
        body = {"model": "sightline-tiny", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 4}
        assert httpx.post(f"{url}/v1/chat/completions", json=body).status_code == 401
        headers = {"authorization": "Bearer secret-key"}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["role"] == "assistant"
        assert httpx.get(f"{url}/ready", headers=headers).json() == {"status": "ready"}
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [401, 200, 200]
    assert lines[1]["completion_tokens"] >= 1
    assert "Hello" not in err
    assert "secret-key" not in err
