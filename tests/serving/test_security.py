"""Who may come in: by Host, by the site a request comes from, and by key; and what browsers are told."""

import hashlib
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from sightline.serving.routes import page
from sightline.serving.security import Guard

from .small_app import beside_small, make_app, make_state

KEYS = ("first-key", "second-key")


def make(**settings):
    state = make_state(**settings)
    client = TestClient(make_app(state), base_url="http://localhost", raise_server_exceptions=False)
    client.state = state
    return client


@pytest.fixture(scope="module")
def anyone():
    return make(allowed_hosts=("proxy.example", "192.168.1.5"))


@pytest.fixture(scope="module")
def keyed():
    return make(api_keys=KEYS)


@pytest.fixture(scope="module")
def friend(keyed):
    """Who has a key of that server."""
    headers = {"authorization": f"Bearer {KEYS[1]}"}
    return TestClient(keyed.app, base_url="http://localhost", headers=headers)


@pytest.fixture(autouse=True)
def bystander(anyone, friend):
    with beside_small(anyone, friend):
        yield


def rejected(client, reason):
    return f'sightline_rejections_total{{reason="{reason}"}}' in client.state.metrics.render().decode()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "localhost.",
        "127.0.0.1",
        "127.8.9.1:1",
        "[::1]:8000",
        "proxy.example:443",
        "192.168.1.5",
        "Proxy.Example.",
    ],
)
def test_a_host_of_this_server_is_let_in(anyone, host):
    assert anyone.get("/v1/who", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.6",
        "8.8.8.8",
        "[::2]",
        "",
        "evil@localhost",
        "proxy.example.evil",
        "2130706433",
        "0.0.0.0",
        "[",
        "localhost/",
        "xn--",
        "127.0.0.1:8000@evil.example",
        "localhost:evil",
        "localhost:1:2",
        "[::1]evil",
    ],
)
@pytest.mark.parametrize("path", ["/", "/health", "/v1/who", "/nothing"])
def test_a_foreign_host_is_refused_whatever_it_asks(anyone, host, path):
    answer = anyone.get(path, headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "host_not_allowed"
    assert "--allowed-hosts" in answer.json()["error"]["message"]
    assert rejected(anyone, "host")


def test_the_address_that_the_connection_came_in_at_is_a_host_of_this_server():
    guard = Guard(None, make_state().settings, (), lambda reason: None)

    def host(text, server):
        headers = [(b"host", text)]
        scope = {"method": "GET", "path": "/", "query_string": b"", "headers": headers, "server": server}
        return guard._check(scope)

    assert host(b"10.1.2.3:8000", ("10.1.2.3", 8000))
    assert host(b"10.1.2.3", ("::ffff:10.1.2.3", 8000))
    assert host(b"[fe80::1]", ("fe80::1", 8000))
    for text, server in [(b"10.1.2.4", ("10.1.2.3", 1)), (b"evil.example", ("evil.example", 1)), (b"10.1.2.3", None)]:
        with pytest.raises(Exception, match="host"):
            host(text, server)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:3000",
        "https://localhost.evil.example",
        "http://127.0.0.1",
        "http://localhost@evil.example",
        "http://[",
        "",
        "file://",
    ],
)
def test_another_sites_page_changes_nothing(anyone, origin):
    answer = anyone.post("/v1/echo", json={}, headers={"origin": origin})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "origin_not_allowed"
    assert rejected(anyone, "origin")


@pytest.mark.parametrize("origin", [None, "http://localhost", "https://localhost", "https://proxy.example"])
def test_a_page_of_this_site_and_a_program_are_let_in(anyone, origin):
    headers = {} if origin is None else {"origin": origin}
    assert anyone.post("/v1/echo", json={}, headers=headers).status_code == 200


def test_no_answer_allows_another_site_to_read_it(anyone):
    for method in ("GET", "POST", "OPTIONS"):
        headers = {"origin": "http://localhost", "access-control-request-method": "POST"}
        answer = anyone.request(method, "/v1/echo", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/who", "/v1/echo", "/v1/nothing", "/ready", "/metrics", "/openapi.json", "/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "HEAD"])
def test_no_route_without_its_key(keyed, path, method):
    answer = keyed.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-should-retry"] == "false"
    if method != "HEAD":
        error = answer.json()["error"]
        assert error["type"] == "authentication_error"
        assert error["code"] == "invalid_api_key"
        assert "missing" in error["message"]


def test_a_path_with_a_slash_too_many_is_not_there(make_client):
    with make_client() as client:
        answer = client.post("/v1/chat/completions/", json={}, follow_redirects=False)
        assert answer.status_code == 404
        assert "there is nothing at POST of this path" in answer.json()["error"]["message"]


def test_the_document_says_that_a_key_is_needed_where_one_is(make_client):
    with make_client() as client:
        assert "security" not in client.get("/openapi.json").json()
    with make_client(api_keys=KEYS) as client:
        document = client.get("/openapi.json", headers={"authorization": "Bearer first-key"}).json()
    (name,) = document["security"][0]
    assert document["components"]["securitySchemes"][name] == {"type": "http", "scheme": "bearer"}
    without = [path for path, methods in document["paths"].items() if methods.get("get", {}).get("security") == []]
    assert without == ["/health"]


def test_no_route_of_the_whole_application_without_its_key(make_client):
    with make_client(api_keys=KEYS) as client:
        paths = client.get("/openapi.json", headers={"authorization": "Bearer first-key"}).json()["paths"]
        asked = [(method, path) for path, methods in paths.items() for method in methods if path != "/health"]
        assert len(asked) > 10
        for method, path in asked:
            assert client.request(method, path).status_code == 401, (method, path)
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "given", ["Bearer", "Bearer ", "Bearer wrong", "Basic first-key", "first-key", "Bearer first-ke"]
)
def test_a_wrong_key_is_as_good_as_none(keyed, given):
    answer = keyed.get("/v1/who", headers={"authorization": given})
    assert answer.status_code == 401
    assert "wrong" in answer.json()["error"]["message"]
    assert rejected(keyed, "key")


def test_two_keys_in_one_request_are_refused(keyed):
    headers = [("authorization", "Bearer first-key"), ("authorization", "Bearer second-key")]
    assert keyed.get("/v1/who", headers=headers).status_code == 401


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_each_key_has_a_salt_of_its_own(keyed, key, scheme):
    answer = keyed.get("/v1/who", headers={"authorization": f"{scheme} {key}"})
    assert answer.json() == {"salt": hashlib.sha256(key.encode()).hexdigest()}


def test_without_keys_all_share_the_empty_salt(anyone):
    assert anyone.get("/v1/who", headers={"authorization": "Bearer anything"}).json() == {"salt": ""}


def test_only_reading_is_free_where_no_key_is_needed(keyed):
    assert keyed.get("/health").status_code == 200
    assert keyed.post("/health").status_code == 401
    assert keyed.get("/health/../v1/who").status_code == 401
    assert keyed.get("/health/").status_code in (307, 401)


def test_a_path_that_answers_head_says_so(make_client):
    with make_client() as client:
        answer = client.post("/v1/models")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert client.get("/v1/score").headers["allow"] == "POST"


def test_head_answers_like_get_without_a_body(make_client):
    with make_client(api_keys=KEYS) as client:
        headers = {"authorization": f"Bearer {KEYS[0]}"}
        paths = client.get("/openapi.json", headers=headers).json()["paths"]
        reading = [path for path, methods in paths.items() if "get" in methods]
        assert {"/health", "/ready", "/metrics", "/v1/models", "/v1/files"} <= set(reading)
        for path in ["/", "/openapi.json", *page.load_bundle(), *reading]:
            at = path.format(model_name="tiny", file_id="file-none")
            whole, head = (client.request(method, at, headers=headers) for method in ("GET", "HEAD"))
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            assert head.headers["content-type"] == whole.headers["content-type"]
            if path != "/metrics":
                assert head.headers["content-length"] == str(len(whole.content)), path
        assert client.head("/v1/chat/completions", headers=headers).status_code == 405
        assert client.head("/health").status_code == 200
        assert client.head("/v1/models").status_code == 401


def test_a_missing_key_is_said_before_the_body_is_looked_at(keyed):
    assert keyed.post("/v1/echo", headers={"content-length": "999999999999"}).status_code == 401


def test_every_answer_tells_browsers_to_keep_to_it(anyone):
    for path in ("/health", "/nothing", "/v1/fail"):
        headers = anyone.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A page of three files, and one beside them that is none of its."""
    (tmp_path / "page" / "assets").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<!doctype html>")
    (tmp_path / "page" / "assets" / "app-1a2b.js").write_text("1")
    (tmp_path / "page" / "icon.svg").write_text("<svg/>")
    (tmp_path / "page" / ".hidden").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    load = page.load_bundle
    monkeypatch.setattr(page, "load_bundle", lambda: load(tmp_path / "page"))
    monkeypatch.setattr("sightline.serving.security.load_bundle", page.load_bundle)


def page_client(**settings):
    state = make_state(**settings)
    app = make_app(state)
    app.include_router(page.router(SimpleNamespace()))
    return TestClient(app, base_url="http://localhost")


def test_the_page_is_sent_under_its_policy(bundle):
    client = page_client(api_keys=KEYS)
    answer = client.get("/")
    assert answer.text == "<!doctype html>"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert policy == page.PAGE_POLICY
    assert "unsafe" not in policy
    assert "http" not in policy
    assert client.head("/").content == b""


def test_the_pages_files_need_no_key_and_last(bundle):
    client = page_client(api_keys=KEYS)
    script = client.get("/assets/app-1a2b.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in script.headers["cache-control"]
    assert client.get("/icon.svg").headers["content-type"] == "image/svg+xml"


def test_what_a_browser_has_is_not_sent_again(bundle):
    client = page_client()
    tag = client.get("/").headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = client.get("/", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../secret",
        "/assets/..%2f..%2fsecret",
        "/.hidden",
        "/%2e%2e/secret",
        "/assets/",
        "/assets",
        "/index.html",
        "//etc/passwd",
        "/assets//etc/passwd",
        "/assets/app-1a2b.js/",
        "/assets/app-1a2b.js%00",
    ],
)
def test_nothing_but_the_pages_files_is_served(bundle, path):
    assert page_client().get(path, follow_redirects=False).status_code in (307, 404)
    answer = page_client().get(path)
    assert answer.status_code == 404 or (answer.status_code, answer.url.path) == (200, path.rstrip("/"))


def test_a_bundle_that_was_not_built_is_said(monkeypatch):
    monkeypatch.setattr(page, "load_bundle", dict)
    answer = page_client().get("/")
    assert answer.status_code == 404
    assert "not part of this installation" in answer.text
