"""Pictures can be uploaded and asked about by id: each its key's alone, bounded, in memory, and gone after a while."""

import builtins
import io
import os
import time

import pytest
from PIL import Image

from sightline.serving.errors import APIError
from sightline.serving.files import FileStore
from sightline.serving.security import Identity
from sightline.serving.settings import Limits

attack = pytest.mark.usefixtures("bystander")

ALICE, BOB = Identity(b"a" * 32), Identity(b"b" * 32)


def png(colour="red", size=(8, 8)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def upload(client, data=None, name="a.png", headers=None, **fields):
    files = {"file": (name, png() if data is None else data, "image/png")}
    return client.post("/v1/files", files=files, data={"purpose": "vision", **fields}, headers=headers)


def ask(client, file_id, headers=None):
    parts = [{"type": "file", "file": {"file_id": file_id}}, {"type": "text", "text": "What is this?"}]
    body = {"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": parts}]}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def refused(response, status, param):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert "\n" not in error["message"]
    return error


def store(now=None, **limits):
    return FileStore(Limits(**limits), clock=(lambda: now[0]) if now else time.time)


# The store.


def test_a_file_is_there_for_its_owner_alone():
    files = store()
    file = files.put(ALICE, "a.png", b"abc", "vision")
    assert files.get(ALICE, file.id) is file
    assert files.list(ALICE) == [file]
    assert files.list(BOB) == []
    told = []
    for ask in (lambda: files.get(BOB, file.id), lambda: files.delete(BOB, file.id), lambda: files.get(BOB, "file-no")):
        with pytest.raises(APIError) as caught:
            ask()
        told.append((caught.value.status, caught.value.message))
    assert len(set(told)) == 1  # nobody learns whether another key has it
    assert told[0][0] == 404
    files.delete(ALICE, file.id)
    assert files.list(ALICE) == []


def test_ids_cannot_be_guessed():
    files = store()
    ids = {files.put(ALICE, "a", b"", "vision").id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(bytes.fromhex(one.removeprefix("file-"))) == 16 for one in ids)


def test_files_expire_of_every_key():
    now = [1000.0]
    files = store(now, file_seconds=60)
    first, short = files.put(ALICE, "a", b"", "vision"), files.put(BOB, "b", b"", "vision", seconds=5)
    assert (first.created_at, first.expires_at, short.expires_at) == (1000, 1060, 1005)
    now[0] = 1005
    with pytest.raises(APIError, match="expired"):
        files.get(BOB, short.id)
    assert files.list(ALICE) == [first]
    assert list(files._files) == [ALICE.salt]
    now[0] = 1060
    assert files.list(BOB) == []
    assert files._files == {}


def test_a_key_has_a_bounded_number_of_files():
    now = [0.0]
    files = store(now, files=2)
    kept = [files.put(ALICE, "a", b"", "vision") for _ in range(2)]
    with pytest.raises(APIError, match="as many as it may have") as caught:
        files.put(ALICE, "a", b"", "vision")
    assert caught.value.status == 400
    files.put(BOB, "a", b"", "vision")
    files.delete(ALICE, kept[0].id)
    files.put(ALICE, "a", b"", "vision")
    now[0] = 1e9
    files.put(ALICE, "a", b"", "vision")


def test_a_key_has_a_bounded_number_of_bytes():
    files = store(file_bytes=6, files_bytes=10)
    with pytest.raises(APIError, match="larger than the 6 bytes") as caught:
        files.put(ALICE, "a", b"1234567", "vision")
    assert caught.value.status == 413
    files.put(ALICE, "a", b"123456", "vision")
    with pytest.raises(APIError, match="more than 10 bytes together"):
        files.put(ALICE, "a", b"12345", "vision")
    files.put(ALICE, "a", b"1234", "vision")
    files.put(BOB, "a", b"123456", "vision")


# The routes.


def test_a_picture_is_uploaded_listed_read_back_and_deleted(client):
    data = png("blue")
    file = upload(client, data, "图片 1.png", purpose="user_data").json()
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": len(data),
        "created_at": file["created_at"],
        "expires_at": file["created_at"] + 3600,
        "filename": "图片 1.png",
        "purpose": "user_data",
        "status": "processed",
    }
    assert client.get(f"/v1/files/{file['id']}").json() == file
    assert file in client.get("/v1/files").json()["data"]
    content = client.get(f"/v1/files/{file['id']}/content")
    assert content.content == data
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["x-content-type-options"] == "nosniff"
    deleted = client.delete(f"/v1/files/{file['id']}")
    assert deleted.json() == {"id": file["id"], "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        refused(client.request(method, f"/v1/files/{file['id']}{path}"), 404, "file_id")
    assert client.get("/health").status_code == 200


def test_files_are_listed_in_pages(make_client):
    with make_client() as client:
        ids = [upload(client, purpose=purpose).json()["id"] for purpose in ("vision", "user_data", "vision")]

        def listed(**query):
            page = client.get("/v1/files", params=query).json()
            assert page["object"] == "list"
            found = [file["id"] for file in page["data"]]
            assert (page["first_id"], page["last_id"]) == ((found[0], found[-1]) if found else (None, None))
            return found, page["has_more"]

        assert listed() == (ids[::-1], False)
        assert listed(order="asc", limit=2) == (ids[:2], True)
        assert listed(order="asc", after=ids[1]) == (ids[2:], False)
        assert listed(purpose="user_data") == (ids[1:2], False)
        assert listed(after=ids[0]) == ([], False)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"order": "random"}, "order"),
        ({"purpose": "batch"}, "purpose"),
        ({"after": "file-none"}, "after"),
        ({"before": "x"}, "before"),
    ],
)
def test_a_wrong_query_is_refused(client, query, param):
    refused(client.get("/v1/files", params=query), 400, param)


def test_an_uploaded_picture_can_be_asked_about(client):
    file_id = upload(client).json()["id"]
    answer = ask(client, file_id)
    assert answer.status_code == 200
    assert answer.json()["usage"]["prompt_tokens_details"]["image_tokens"] == 16
    refused(ask(client, "file-none"), 404, "messages[0].content[0].file.file_id")


def test_another_key_s_file_is_not_there(make_client):
    with make_client(api_keys=("alice-key", "bob-key")) as client:
        alice, bob = ({"Authorization": f"Bearer {name}-key"} for name in ("alice", "bob"))
        file_id = upload(client, headers=alice).json()["id"]
        assert ask(client, file_id, alice).status_code == 200
        refused(ask(client, file_id, bob), 404, "messages[0].content[0].file.file_id")
        refused(client.get(f"/v1/files/{file_id}", headers=bob), 404, "file_id")
        refused(client.get(f"/v1/files/{file_id}/content", headers=bob), 404, "file_id")
        refused(client.delete(f"/v1/files/{file_id}", headers=bob), 404, "file_id")
        assert client.get("/v1/files", headers=bob).json()["data"] == []
        for method, path in (("POST", ""), ("GET", ""), ("GET", f"/{file_id}"), ("DELETE", f"/{file_id}")):
            assert client.request(method, f"/v1/files{path}").status_code == 401
        assert client.get(f"/v1/files/{file_id}", headers=alice).status_code == 200


@pytest.mark.parametrize("data", [b"", b"text", b"<svg/>", png()[:40], b"%PDF-1.4", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_not_kept(client, data):
    before = client.get("/v1/files").json()
    refused(upload(client, data), 400, "file")
    assert client.get("/v1/files").json() == before
    assert client.get("/health").status_code == 200


def test_limits_hold_for_uploads(make_client):
    with make_client(limits={"files": 1, "file_bytes": 2000}) as client:
        assert refused(upload(client, b"\0" * 2001), 413, "file")["code"] == "file_too_large"
        assert upload(client).status_code == 200
        assert refused(upload(client), 400, "file")["code"] == "too_many_files"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"purpose": ["vision", "vision"]}, "purpose"),
        ({"colour": "red"}, "colour"),
        ({"expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "60"}, "expires_after[anchor]"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "60"}, "expires_after[anchor]"),
        *(
            ({"expires_after[anchor]": "created_at", "expires_after[seconds]": seconds}, "expires_after[seconds]")
            for seconds in ("0", "-1", "3601", "1e9", "nan", "9" * 1000, "٣")
        ),
    ],
)
def test_a_wrong_field_of_the_form_is_named(client, fields, param):
    refused(upload(client, **fields), 400, param)


def test_a_file_can_expire_sooner(client):
    file = upload(client, **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"}).json()
    assert file["expires_at"] == file["created_at"] + 60


def form(*parts, boundary=b"bound"):
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def field(name, value, more=b""):
    return b'Content-Disposition: form-data; name="' + name + b'"' + more + b"\r\n\r\n" + value


PURPOSE, FILE = field(b"purpose", b"vision"), field(b"file", png(), b'; filename="a.png"')


@attack
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"\0" * 100, None),
        (form(PURPOSE), "file"),
        (form(FILE), "purpose"),
        (form(PURPOSE, FILE, FILE), "file"),
        (form(PURPOSE, FILE, FILE, FILE), None),
        (form(PURPOSE, field(b"file", png(), b'; filename=""')), "file"),
        (form(PURPOSE, field(b"file", png(), b'; filename="' + b"x" * 300 + b'"')), "file"),
        (form(PURPOSE, field(b"file", b"abc")), "file"),
        (form(PURPOSE, field(b"file", b"a" * 5000)), None),
        (form(FILE, field(b"purpose", b"vision", b'; filename="p"')), "purpose"),
        (form(*[field(b"a%d" % index, b"") for index in range(1000)]), None),
        (form(PURPOSE, FILE)[:-20], None),
        (b"--bound\r\n" + b"a:b\r\n" * 100_000, None),
        (b"--bound\r\na:" + b"b" * 1_000_000, None),
        (form(b"Content-Type: text/plain\r\n\r\nabc"), None),
    ],
)
def test_a_form_that_is_none_is_refused_soon(client, body, param):
    start = time.process_time()
    response = client.post("/v1/files", content=body, headers={"Content-Type": "multipart/form-data; boundary=bound"})
    assert time.process_time() - start < 1
    refused(response, 400, param)


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "", "text/plain"])
def test_another_content_type_is_refused(client, kind):
    refused(client.post("/v1/files", content=form(PURPOSE, FILE), headers={"Content-Type": kind}), 415, None)


@attack
@pytest.mark.parametrize("options", ["", "; boundary=", "; boundary=" + "x" * 300, "; boundary=other"])
def test_a_form_without_its_boundary_is_refused(client, options):
    headers = {"Content-Type": f"multipart/form-data{options}"}
    assert client.post("/v1/files", content=form(PURPOSE, FILE), headers=headers).status_code == 400


@attack
@pytest.mark.parametrize("charset", ["utf-16", "zlib", "idna", "punycode", "unicode_escape", "no-such", "utf-7"])
@pytest.mark.parametrize("name", [rb"\ud800", b"xn--zz", b"+2AA-", b"\xff\xfe"])
def test_a_name_in_any_encoding_is_told_back_or_refused(client, charset, name):
    body = form(PURPOSE, field(b"file", png(), b'; filename="' + name + b'"'), field(name, b"x"))
    headers = {"Content-Type": f"multipart/form-data; boundary=bound; charset={charset}"}
    assert client.post("/v1/files", content=body, headers=headers).status_code == 400


@attack
@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "~/.ssh/id", ".", "x" * 255])
def test_a_name_is_told_back_and_opens_nothing(client, monkeypatch, name):
    opened = []

    def watch(original):
        def call(path, *args, **kwargs):
            opened.append(path)
            return original(path, *args, **kwargs)

        return call

    monkeypatch.setattr(builtins, "open", watch(builtins.open))
    monkeypatch.setattr(io, "open", watch(io.open))
    monkeypatch.setattr(os, "open", watch(os.open))
    big = io.BytesIO()
    Image.effect_noise((1100, 1100), 100).save(big, "PNG")  # more than what is usually kept in memory
    assert len(big.getvalue()) > 2**20
    file = upload(client, big.getvalue(), name).json()
    assert file["filename"] == name
    assert client.get(f"/v1/files/{file['id']}/content").content == big.getvalue()
    client.delete(f"/v1/files/{file['id']}")
    monkeypatch.undo()
    assert opened == []


@attack
@pytest.mark.parametrize("file_id", ["..", "../x", "%2e%2e%2fetc%2fpasswd", "file-%00", "x" * 5000, "图"])
def test_an_id_is_never_a_path(client, file_id):
    assert client.get(f"/v1/files/{file_id}").status_code in (400, 404)


def test_openai_s_client_works_unchanged(served, tmp_path):
    openai = pytest.importorskip("openai")
    path = tmp_path / "square.png"
    path.write_bytes(png())
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as api:
        file = api.files.create(file=path, purpose="vision")
        assert (file.filename, file.status, file.bytes) == ("square.png", "processed", len(png()))
        assert file.expires_at == file.created_at + 3600
        other = api.files.create(
            file=("b.png", png("blue")), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert [one.id for one in api.files.list()][:2] == [other.id, file.id]  # others' tests leave theirs
        assert [one.id for one in api.files.list(limit=1)][:2] == [other.id, file.id]
        assert api.files.retrieve(file.id) == file
        assert api.files.content(file.id).read() == png()
        assert api.files.wait_for_processing(file.id) == file
        assert api.files.delete(file.id).deleted
        with pytest.raises(openai.NotFoundError) as caught:
            api.files.retrieve(file.id)
        assert caught.value.code == "file_not_found"
        with pytest.raises(openai.BadRequestError):
            api.files.create(file=("a.txt", b"text"), purpose="vision")
        api.files.delete(other.id)


def test_a_body_that_holds_no_file_to_keep_is_not_taken_apart(make_client, monkeypatch):
    from sightline.serving.routes import files

    with make_client(limits={"file_bytes": 2000, "files": 1}) as client:
        assert upload(client).status_code == 200
        monkeypatch.setattr(files, "_read_form", lambda request: pytest.fail("it was taken apart"))
        refused(upload(client, b"\0" * 50_000), 413, "file")
        refused(upload(client), 400, "file")  # there is one already
