"""Conversations are read row by row, in two formats and two wrappings; what is wrong with one is said with its row."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.readers import open_data

IMAGE, DATA_URI = {"type": "image"}, "data:image/png;base64,AAAA"


def text(words):
    return {"type": "text", "text": words}


def turns(question, answer="A cat."):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.fixture
def write(tmp_path):
    for name in ("a.png", "b.png", "pictures/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"never opened here")

    def write_rows(*rows, name="rows.jsonl"):
        path = tmp_path / name
        if name.endswith(".json"):
            path.write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write_rows


ROWS = [
    {"messages": turns("Was ist das, 猫?"), "kind": "pets"},
    {"messages": turns([IMAGE, text("What?")]), "images": ["a.png"]},
    {"id": "7", "image": "b.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}]},
]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_jsonl_and_a_json_list_are_the_same_rows(write, tmp_path, name):
    rows = open_data(write(*ROWS, name=name))
    assert len(rows) == 3
    assert rows[0].messages[0]["content"] == [text("Was ist das, 猫?")]
    assert rows[0].fields == {"kind": "pets"}
    assert rows[1].images == [str(tmp_path / "a.png")]
    assert rows[1].messages[0]["content"] == [IMAGE, text("What?")]
    assert rows[-1].fields == {"id": "7"}
    assert [row.images for row in rows] == [rows[n].images for n in range(3)]
    assert rows[2].where == f"{tmp_path / name}, {'line' if name == 'rows.jsonl' else 'row'} 3"
    assert pickle.loads(pickle.dumps(rows))[2] == rows[2]
    with pytest.raises(IndexError):
        rows[3]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5))
def test_any_text_comes_back_from_either_wrapping(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"messages": turns("Q", said)} for said in texts]
    (folder / "list.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    (folder / "lines.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    for name in ("list.json", "lines.jsonl"):
        read = open_data(folder / name)
        assert [row.messages[1]["content"] for row in read] == [[text(said)] for said in texts]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    path = tmp_path / "gaps.jsonl"
    path.write_text("\ufeff" + json.dumps(ROWS[0]) + "\n\n  \n{\n", encoding="utf-8")
    rows = open_data(path)
    assert len(rows) == 2
    assert rows[0].fields == {"kind": "pets"}
    with pytest.raises(ValueError, match=r"gaps\.jsonl, line 4: it is not JSON"):
        rows[1]


@pytest.mark.parametrize(
    ("messages", "images", "contents"),
    [
        # Beside strings the pictures open the first user's text, as in TRL, or stand where the tags are.
        (turns("What?"), ["a.png", "b.png"], [IMAGE, IMAGE, text("What?")]),
        (turns("<image><image>Which?"), ["a.png", "b.png"], [IMAGE, IMAGE, text("Which?")]),
        (
            turns("This <image> or\n<image>\nthat?"),
            ["a.png", "b.png"],
            [text("This "), IMAGE, text(" or"), IMAGE, text("that?")],
        ),
        # Without pictures the tag is what somebody typed.
        (turns("What does <image> mean?"), [], [text("What does <image> mean?")]),
        (turns([text("a <image> tag"), IMAGE]), ["a.png"], [text("a <image> tag"), IMAGE]),
    ],
)
def test_pictures_beside_the_messages_find_their_places(write, messages, images, contents):
    row = open_data(write({"messages": messages, "images": images}))[0]
    assert row.messages[0]["content"] == contents
    assert [path.rpartition("/")[2] for path in row.images] == images


def test_pictures_in_the_messages_are_gathered_in_reading_order(write, tmp_path):
    parts = [
        {"type": "image", "image": "a.png"},
        IMAGE,
        {"type": "image_url", "image_url": {"url": DATA_URI}},
        {"type": "image", "path": "pictures/c.png"},
        text("Which?"),
    ]
    row = open_data(write({"messages": turns(parts), "images": [{"path": "b.png"}]}))[0]
    assert row.images == [str(tmp_path / "a.png"), str(tmp_path / "b.png"), DATA_URI, str(tmp_path / "pictures/c.png")]
    assert row.messages[0]["content"] == [IMAGE] * 4 + [text("Which?")]


def test_llavas_rows_become_messages(write, tmp_path):
    row = {
        "id": "1",
        "image": "c.png",
        "conversations": [
            {"from": "human", "value": "What is this?\n<image>"},
            {"from": "gpt", "value": "A cat."},
            {"from": "human", "value": "Sure?"},
            {"from": "gpt", "value": "Yes."},
        ],
    }
    read = open_data(write(row), image_folder=tmp_path / "pictures")[0]
    assert read.images == [str(tmp_path / "pictures" / "c.png")]
    assert [message["role"] for message in read.messages] == ["user", "assistant"] * 2
    # LLaVA's own training moves the one picture to the front.
    assert read.messages[0]["content"] == [IMAGE, text("What is this?")]
    two = {"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "<image> or <image>?"}]}
    assert open_data(write(two))[0].messages[0]["content"] == [IMAGE, text(" or "), IMAGE, text("?")]
    only_text = {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]}
    assert open_data(write(only_text))[0].images == []


TAGGED = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
WORDS = [{"messages": turns("What?")}, {"conversations": TAGGED}, {"texts": [{"user": "What?", "assistant": "A cat."}]}]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: next(iter(words)))
def test_the_pictures_of_turns_may_lie_in_a_column_of_another_name(write, tmp_path, words):
    path = write(words | {"photo": "a.png", "id": 7}, words | {"photo": ["b.png"], "images": None})
    rows = open_data(path, image_column="photo")
    for row, name in zip(rows, ("a.png", "b.png"), strict=True):
        assert row.images == [str(tmp_path / name)]
        assert row.messages[0]["content"] == [IMAGE, text("What?")]
        assert row.messages[1]["content"] == [text("A cat.")]
    assert rows[0].fields == {"id": 7}
    given = {"messages": "chat", "conversations": "llava", "texts": "cauldron"}[next(iter(words))]
    assert open_data(path, image_column="photo", format=given)[0] == rows[0]


@pytest.mark.parametrize("photo", ["a.png", ["a.png", "b.png"], {"bytes": None, "path": "a.png"}])
@pytest.mark.parametrize("words", [WORDS[0], WORDS[2]], ids=lambda words: next(iter(words)))
def test_no_picture_of_turns_is_passed_over_because_its_column_has_another_name(write, words, photo):
    rows = open_data(write(ROWS[0], words | {"photo": photo}, ROWS[1] | {"photo": photo}))
    with pytest.raises(ValueError, match=r"line 2: 'photo' seems to hold its picture: name it as the image column"):
        rows[1]
    assert rows[0].images == []
    assert len(rows[2].images) == 1  # where the picture is known, others are what they are
    # Who says where pictures are may have other columns that look like some.
    assert open_data(rows.path, image_column="images")[1].images == []


@pytest.mark.parametrize("words", WORDS, ids=lambda words: next(iter(words)))
@pytest.mark.parametrize("empty", [[], "", None])
def test_an_empty_column_of_pictures_hides_no_other(write, tmp_path, words, empty):
    for beside in ({"images": empty, "image": "a.png"}, {"image": "a.png"}):
        assert open_data(write(words | beside))[0].images == [str(tmp_path / "a.png")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": turns("What?")[:1], "completion": turns("What?")[1:]},
        {"prompt": turns("What?")[:1], "completion": "A cat."},
        {"prompt": "What?", "completion": "A cat."},
    ],
)
def test_trls_prompts_with_completions_are_conversations(write, tmp_path, row):
    rows = open_data(write(row | {"images": ["a.png"], "id": 7}, row))
    expected = [("user", [IMAGE, text("What?")]), ("assistant", [text("A cat.")])]
    assert [(message["role"], message["content"]) for message in rows[0].messages] == expected
    assert (rows[0].images, rows[0].fields) == ([str(tmp_path / "a.png")], {"id": 7})
    assert rows[1].images == []
    if isinstance(row["prompt"], list):
        assert open_data(rows.path, format="chat")[0] == rows[0]
        assert rows.format == "chat rows in JSON lines"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["a", "list"], "line 2: it is no JSON object, but ['a', 'list']"),
        ({"text": "hello"}, "line 2 has neither a picture nor a question of its own, only text"),
        ({"messages": []}, "line 2: 'messages' is a list of at least one turn"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "line 2, message 0: a message has a 'role' of"),
        ({"messages": [{"role": "user", "content": 3}]}, "the content is a string or a list of parts, but is 3"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "'text' or 'image', but this has 'video'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "the text is a string, but is None"),
        ({"messages": turns("\ud800")}, "character 0 of the text is a lone surrogate"),
        ({"messages": turns([IMAGE])}, "1 places for pictures, but 0 pictures"),
        ({"messages": turns("<image>"), "images": ["a.png", "b.png"]}, "1 places for pictures, but 2 pictures"),
        ({"image": "a.png", "conversations": [{"from": "human", "value": "What?"}]}, "0 places for pictures, but 1"),
        ({"conversations": [{"from": "human", "value": "<image>"}]}, "1 places for pictures, but 0"),
        ({"conversations": [{"from": "dog", "value": "woof"}]}, "line 2, turn 0: a turn has a 'from' of"),
        ({"messages": turns([{"type": "image", "image": "https://x/a.png"}])}, "is a URL"),
        ({"messages": turns("What?"), "images": [3]}, "a picture is a path or a data URI, but is 3"),
    ],
)
def test_a_wrong_row_is_named_when_it_is_read(write, row, message):
    rows = open_data(write(ROWS[0], row))
    assert rows[0].fields == {"kind": "pets"}
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        rows[1]
    assert message in str(caught.value)
    assert str(rows.path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.png", "a\0b.png", "x" * 400])
def test_a_missing_picture_is_named_with_its_row(write, name):
    with pytest.raises(FileNotFoundError, match="line 1: there is no picture"):
        open_data(write({"messages": turns("What?"), "images": [name]}))[0]


def test_a_missing_file_or_folder_and_an_empty_or_broken_file_are_errors(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_data(tmp_path / "nowhere.jsonl")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        open_data(write(*ROWS), image_folder=tmp_path / "nowhere")
    for content, message in [
        ("", "holds no rows"),
        ("[]", "holds no rows"),
        ('[{"a": 1} {"b": 2}]', "row 2 is not JSON: a comma or the closing bracket is missing"),
        ('[{"a": 1},', "row 2 is not JSON"),
        ('[{"a": 1}', "row 2 is not JSON"),
        ('[{"a": 1}] [2]', "goes on after its list ends"),
    ]:
        (tmp_path / "broken.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            open_data(tmp_path / "broken.json")
