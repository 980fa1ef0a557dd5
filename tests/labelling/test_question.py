"""What a row asks: its own last user turn or question, else the prompt; anything else is one line for the bad rows."""

import pytest

from sightline.labelling.question import Asking, question_of
from sightline.labelling.rows import Item

IMAGE, URI = {"type": "image"}, "data:image/png;base64,AAAA"


def text(words):
    return {"type": "text", "text": words}


def user(*parts):
    return {"role": "user", "content": list(parts)}


@pytest.fixture
def ask(make_pictures):
    folder = make_pictures("a.png", "b.png")

    def run(fields, prompt="What?", **options):
        return question_of(Item("row 1", fields), Asking(prompt, **options), folder)

    run.folder = folder
    return run


def test_a_picture_alone_is_asked_the_prompt(ask):
    question = ask({"image": "a.png", "id": 7, "when": b"no JSON", "score": float("nan")})
    assert question.messages == [user(IMAGE, text("What?"))]
    assert question.pictures == [str(ask.folder / "a.png")]
    assert question.fields == {"id": 7}
    assert question.with_pictures() == [user({"type": "image", "image": str(ask.folder / "a.png")}, text("What?"))]


@pytest.mark.parametrize("field", ["prompt", "question"])
def test_a_rows_own_question_goes_before_the_prompt(ask, field):
    question = ask({"image": "a.png", field: "Who?"})
    assert question.messages == [user(IMAGE, text("Who?"))]
    assert question.fields == {}
    assert ask({"image": "a.png", field: None}).messages == [user(IMAGE, text("What?"))]
    assert ask({"image": "a.png", field: " \n"}).messages == [user(IMAGE, text("What?"))]


def test_a_blank_prompt_gives_way_to_the_rows_question(ask):
    assert ask({"image": "a.png", "prompt": "", "question": "Who?"}).messages == [user(IMAGE, text("Who?"))]


def test_a_row_with_turns_has_its_picture_in_the_field_that_was_named(ask):
    turns = [{"role": "user", "content": "Who?"}]
    question = ask({"messages": turns, "photo": "a.png", "image": "b.png"}, image_field="photo")
    assert question.messages == [user(IMAGE, text("Who?"))]
    assert question.pictures == [str(ask.folder / "a.png")]
    with pytest.raises(ValueError, match="'photo' seems to hold its picture: name it as the image column"):
        ask({"messages": turns, "photo": "a.png"})
    assert ask({"messages": turns, "id": "a"}).pictures == []


@pytest.mark.parametrize("nothing", [None, "", []])
def test_a_row_whose_picture_is_left_empty_is_no_question(ask, nothing):
    with pytest.raises(ValueError, match="the row has no image"):
        ask({"image": nothing})
    assert ask({"image": nothing, "images": ["a.png"]}).pictures == [str(ask.folder / "a.png")]


def test_a_tag_says_where_the_picture_goes(ask):
    seen = ask({"image": "a.png", "prompt": "See <image>: why?"})
    assert seen.messages == [user(text("See "), IMAGE, text(": why?"))]
    # In the prompt it is only text.
    assert ask({"image": "a.png"}, prompt="Is <image> HTML?").messages == [user(IMAGE, text("Is <image> HTML?"))]


def test_fields_can_have_other_names(ask):
    options = {"image_field": "file", "prompt_field": "q"}
    question = ask({"file": "a.png", "q": "Who?", "prompt": "kept", "image": "dropped"}, **options)
    assert question.messages == [user(IMAGE, text("Who?"))]
    assert question.fields == {"prompt": "kept"}
    with pytest.raises(ValueError, match="no file, but image"):
        ask({"image": "a.png"}, **options)


def test_several_pictures_bytes_and_uris_are_pictures(ask):
    images = [b"1", {"bytes": b"2", "path": "a.png"}, {"bytes": None, "path": "b.png"}, URI, {"path": "a.png"}]
    question = ask({"images": images})
    assert question.pictures == [b"1", b"2", str(ask.folder / "b.png"), URI, str(ask.folder / "a.png")]
    assert question.messages == [user(*[IMAGE] * 5, text("What?"))]


def test_a_shards_text_is_its_question_only_where_there_is_no_prompt(ask):
    assert ask({"image": b"1", "txt": "A cat."}).messages == [user(IMAGE, text("What?"))]
    assert ask({"image": b"1", "txt": "A cat."}).fields == {"txt": "A cat."}
    assert ask({"image": b"1", "txt": "Why?"}, prompt=None).messages == [user(IMAGE, text("Why?"))]


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [IMAGE, text("What?")]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": [IMAGE, text("And this?")]},
]


def test_a_conversation_is_asked_its_last_user_turn_again(ask):
    more = [{"role": "assistant", "content": [text("A dog, like "), IMAGE]}]
    question = ask({"messages": CHAT + more, "images": ["a.png", "b.png", "a.png"], "kind": "pets", "sightline": {}})
    assert question.messages == [{"role": "system", "content": [text("Be brief.")]}] + [
        {**message, "content": message["content"] if isinstance(message["content"], list) else [text("A cat.")]}
        for message in CHAT[1:]
    ]
    assert question.pictures == [str(ask.folder / name) for name in ("a.png", "b.png")]
    assert question.fields == {"kind": "pets"}


def test_a_conversation_as_parquet_holds_it_has_nothing_where_others_have_fields(ask):
    part = {"type": "text", "text": "Why?", "image": None}
    fields = {"messages": [{"role": "user", "content": [part]}], "images": None, "conversations": None, "image": None}
    assert ask(fields).messages == [user(text("Why?"))]
    assert ask(fields).pictures == []


def test_a_turn_without_words_is_asked_the_prompt(ask):
    fields = {"messages": [user(IMAGE)], "images": [b"1"]}
    assert ask(fields).messages == [user(IMAGE, text("What?"))]
    with pytest.raises(ValueError, match="give --prompt"):
        ask(fields, prompt=None)


def test_llavas_rows_are_conversations_too(ask):
    turns = [{"from": "human", "value": "<image>\nWhy?"}, {"from": "gpt", "value": "So."}]
    assert ask({"image": "a.png", "conversations": turns}).messages == [user(IMAGE, text("Why?"))]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "no image or images, but nothing"),
        ({"img": "a.png", "prompt": "Why?"}, "no image or images, but img, prompt"),
        ({"image": "c.png"}, "there is no picture"),
        ({"image": "http://a/b.png"}, "not downloaded"),
        ({"image": 7}, "path or a data URI"),
        ({"image": []}, "no image or images"),
        ({"image": "a.png", "prompt": [7]}, "prompt is no text, but list"),
        ({"image": "a.png", "prompt": "\ud800"}, "lone surrogate"),
        ({"messages": [{"role": "assistant", "content": "Hm."}]}, "no turn is the user's"),
        ({"messages": []}, "at least one turn"),
        ({"messages": [user(IMAGE)]}, "1 places for pictures, but 0"),
    ],
)
def test_what_is_wrong_with_a_row_is_one_line(ask, fields, error):
    with pytest.raises((ValueError, FileNotFoundError), match=error) as raised:
        ask(fields)
    assert "\n" not in str(raised.value)
