"""A table of pictures, questions and answers, in whatever columns; captions; folders named after classes."""

import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.data.readers import open_data


def asked(question, answer, pictures=1):
    return [("user", "[picture]" * pictures + question), ("assistant", answer)]


HEADER = ("file_name", "question", "answer")


def test_a_csv_beside_pictures_has_several_rows_a_picture_and_rows_without(write_csv, said):
    folder = write_csv(
        HEADER, ("0.png", "What?", "A duck."), ("0.png", 'A "why",\nand more', "Because"), ("", "1+1?", 2)
    )
    rows = open_data(folder)
    assert [said(row) for row in rows] == [
        asked("What?", "A duck."),
        asked('A "why",\nand more', "Because"),
        asked("1+1?", "2", 0),
    ]
    assert rows[0].images == rows[1].images == [str(folder / "0.png")]
    # Lines are counted as an editor does: the second record goes over two of them.
    assert [row.where for row in rows] == [f"{folder}/metadata.csv, line {line}" for line in (2, 3, 5)]
    assert rows.where(0, 2) == f"{folder}/metadata.csv, lines 2, 5"
    assert [said(rows[n]) for n in range(3)] == [said(row) for row in rows]
    assert said(pickle.loads(pickle.dumps(rows))[1]) == said(rows[1])
    assert "pictures in 'file_name', questions in 'question', answers in 'answer'" in rows.format


@pytest.mark.parametrize(("name", "delimiter"), [("metadata.csv", ";"), ("metadata.tsv", "\t")])
def test_columns_may_be_parted_as_other_programs_do(write_csv, said, name, delimiter):
    folder = write_csv(HEADER, ("0.png", "A, or B?", "B"), name=name, delimiter=delimiter)
    assert [said(row) for row in open_data(folder)] == [asked("A, or B?", "B")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1), min_size=1))
def test_any_answer_comes_back_from_a_table_in_order_and_by_number(write_csv, said, answers):
    folder = write_csv(HEADER, *(("1.png", "Q", answer) for answer in answers))
    rows = open_data(folder)
    read = [said(row)[1][1] for row in rows]
    assert read == [answer.strip() for answer in answers]
    assert [said(rows[n])[1][1] for n in range(len(rows))] == read


def test_other_columns_are_named_and_one_prompt_asks_for_all(write_lines, said):
    folder = write_lines({"photo": "0.png", "frage": "Was?", "antwort": "Eine Ente.", "id": 7}, name="rows.jsonl")
    named = {"image_column": "photo", "question_column": "frage", "answer_column": "antwort"}
    (row,) = open_data(folder, **named)
    assert said(row) == asked("Was?", "Eine Ente.")
    assert row.fields == {"id": 7}
    named |= {"question_column": None, "prompt": "Describe it."}
    assert said(open_data(folder, **named)[0]) == asked("Describe it.", "Eine Ente.")
    # A picture is never passed over because its column has another name.
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 1: 'photo' seems to hold its picture: name it"):
        open_data(folder, question_column="frage", answer_column="antwort")[0]
    with pytest.raises(ValueError, match=r"has no column 'fotos', only photo, frage, antwort, id"):
        open_data(folder, image_column="fotos")


@pytest.mark.parametrize("column", ["text", "caption", "description"])
def test_captions_are_answers_to_one_question(write_lines, said, column):
    folder = write_lines({"file_name": "0.png", column: "A duck."}, {"file_name": "1.png", column: "Two."})
    assert [said(row) for row in open_data(folder)] == [
        asked("Describe the picture.", "A duck."),
        asked("Describe the picture.", "Two."),
    ]
    assert said(open_data(folder, prompt="What do you see?")[1]) == asked("What do you see?", "Two.")


def test_several_right_answers_stay_for_evaluation(write_lines, said):
    (row,) = open_data(write_lines({"image": "0.png", "question": "Where?", "answers": ["Here", "There"]}))
    assert said(row) == asked("Where?", "Here")
    assert row.fields == {"answers": ["Here", "There"]}


def test_of_answer_and_answers_the_one_is_said_and_all_stay(write_lines, said):
    (row,) = open_data(write_lines({"image": "0.png", "question": "Q", "answers": ["a", "b"], "answer": "b"}))
    assert said(row) == asked("Q", "b")
    assert row.fields == {"answers": ["a", "b"]}


@pytest.mark.parametrize(("given", "taught"), [(1, "Maine"), (0, "Ohio"), (2, "2"), ("Maine", "Maine")])
def test_a_number_beside_choices_is_the_choice(write_lines, said, given, taught):
    fields = {"image": "0.png", "question": "Which?", "choices": ["Ohio", "Maine"], "answer": given}
    (row,) = open_data(write_lines(fields))
    assert said(row) == asked("Which?", taught)
    assert row.fields["choices"] == ["Ohio", "Maine"]


@pytest.mark.parametrize(("given", "taught"), [("1", "Maine"), ("2", "2"), ("Maine", "Maine")])
def test_a_cell_with_a_number_beside_choices_is_the_choice(write_csv, said, given, taught):
    header = ("image", "question", "choices", "answer")
    (row,) = open_data(write_csv(header, ("0.png", "Which?", '["Ohio", "Maine"]', given)))
    assert said(row) == asked("Which?", taught)


def test_a_column_without_a_name_is_neither_question_nor_picture(write_csv, said):
    folder = write_csv(("", "file_name", "caption"), ("7", "0.png", "A duck."))
    assert [said(row) for row in open_data(folder)] == [asked("Describe the picture.", "A duck.")]
    folder = write_csv(("", "question", "answer"), ("0", "1+1?", "2"), name="rows.csv")
    assert [said(row) for row in open_data(folder / "rows.csv")] == [asked("1+1?", "2", 0)]


def test_an_empty_list_of_answers_is_no_answer(write_csv, said):
    (row,) = open_data(write_csv(("image", "question", "answers"), ("0.png", "Where?", "[]")))
    assert said(row) == asked("Where?", "")


@pytest.mark.parametrize("said_of", ["PNG", "Convert it to .png", "Which is lossless: GIF or\nphoto.jpg"])
def test_text_about_pictures_is_none(write_lines, said, said_of):
    folder = write_lines({"question": said_of, "answer": said_of, "source": said_of}, name="rows.jsonl")
    (row,) = open_data(folder / "rows.jsonl")
    assert said(row) == asked(said_of, said_of, pictures=0)


def test_of_vqav2_s_annotators_the_most_frequent_answer_is_said(write_lines, said):
    answers = [{"answer": text, "answer_id": n} for n, text in enumerate(("one", "two", "two"), 1)]
    (row,) = open_data(write_lines({"image": "0.png", "question": "Q", "answers": answers}))
    assert said(row) == asked("Q", "two")
    assert row.fields == {"answers": ["two", "two", "one"]}  # the truth that evaluation shows is the one that is taught


@pytest.mark.parametrize(
    ("cell", "texts"), [('["2", "two"]', ["2", "two"]), ("['2']", ["2"]), ("2", ["2"]), ("", None), ("a, b", ["a, b"])]
)
def test_a_cell_of_a_csv_file_may_list_right_answers(write_csv, said, cell, texts):
    (row,) = open_data(write_csv(("image", "question", "answer", "answers"), ("0.png", "How many?", "2", cell)))
    assert said(row) == asked("How many?", "2")
    assert row.fields.get("answers") == texts


def test_a_picture_in_bare_base64_is_not_quoted_whole(write_lines):
    rows = open_data(write_lines({"image": "iVBORw0KGgo" * 9000, "caption": "A duck."}))
    with pytest.raises(ValueError, match="if it is base64, write data:image/png;base64, before it") as caught:
        rows[0]
    assert len(str(caught.value)) < 400


def test_what_labelling_leaves_beside_its_rows_is_no_rows(write_lines, said):
    folder = write_lines({"image": "0.png", "caption": "A duck."}, name="captions.jsonl")
    for name in ("captions.job.json", "captions.bad.jsonl"):
        (folder / name).write_text("{}\n")
    assert len(open_data(folder)) == 1


def test_numbers_that_pandas_made_floats_are_whole_and_its_gaps_empty(write_lines, said):
    numbers = [3.0, 2.5, -0.0, 1e300, float("nan"), float("inf"), 7]
    rows = open_data(write_lines(*({"image": "0.png", "question": "How many?", "answer": one} for one in numbers)))
    assert [said(row)[1][1] for row in rows] == ["3", "2.5", "0", "1e+300", "", "", "7"]


@pytest.mark.parametrize(
    "row",
    [{"question": "Q", "answer": None}, {"caption": None}, {"question": "Q", "answer": None, "category": "science"}],
)
def test_a_gap_in_a_column_of_answers_is_an_empty_answer(write_lines, said, row):
    assert said(open_data(write_lines({"image": "0.png", **row}))[0])[1] == ("assistant", "")


def test_what_an_instruction_is_about_is_part_of_the_question(write_lines, said):
    given = {"instruction": "Translate into French.", "output": "Bonjour"}
    rows = open_data(write_lines({**given, "input": "Good morning"}, {**given, "input": ""}, given) / "metadata.jsonl")
    assert said(rows[0]) == asked("Translate into French.\nGood morning", "Bonjour", 0)
    assert said(rows[1]) == said(rows[2]) == asked("Translate into French.", "Bonjour", 0)
    assert "input" not in rows[0].fields


def test_a_prompt_asks_about_pictures_and_not_about_nothing(write_csv, said):
    rows = open_data(write_csv(HEADER, ("0.png", "", "cat"), ("", "", "dog")), prompt="What is this?")
    assert said(rows[0]) == asked("What is this?", "cat")
    with pytest.raises(ValueError, match="neither a picture nor a question of its own"):
        rows[1]


def test_a_gap_where_a_picture_may_be_is_none(write_lines, said):
    row = open_data(write_lines({"image": float("nan"), "question": "1+1?", "answer": "2"}))[0]
    assert said(row) == asked("1+1?", "2", 0)


def test_names_of_columns_are_known_in_any_case(write_csv, said):
    rows = open_data(write_csv(("Image", "Question", "ANSWER"), ("0.png", "What?", "A duck.")))
    assert said(rows[0]) == asked("What?", "A duck.")
    assert "pictures in 'Image', questions in 'Question', answers in 'ANSWER'" in rows.format


def test_a_caption_in_capitals_is_asked_as_any(write_csv, said):
    assert said(open_data(write_csv(("Image", "Caption"), ("0.png", "A duck.")))[0]) == asked(
        "Describe the picture.", "A duck."
    )


def test_two_columns_that_say_the_same_are_one(write_lines, said):
    (row,) = open_data(write_lines({"image": "0.png", "caption": "A duck.", "text": "A duck."}))
    assert said(row) == asked("Describe the picture.", "A duck.")


def test_folders_named_after_classes_are_asked_what_is_shown(tmp_path, picture_bytes, said):
    for number, name in enumerate(("birds/grey_heron/a.png", "birds/duck/b.jpg", "cat/c.png", "cat/notes.txt")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(number))
    rows = open_data(tmp_path)
    assert [said(row) for row in rows] == [asked("What is this?", name) for name in ("duck", "grey heron", "cat")]
    assert rows.format == "pictures in folders named after 3 classes (cat, duck, grey heron); asked: 'What is this?'"
    assert rows[1].where == f"{tmp_path}/birds/grey_heron/a.png"
    assert said(open_data(tmp_path, prompt="Which animal?")[2]) == asked("Which animal?", "cat")
    (tmp_path / "metadata.csv").write_text("file_name,question,answer\ncat/c.png,Q,A\n")
    assert len(open_data(tmp_path)) == 1
    assert len(open_data(tmp_path, format="classes")) == 3


@pytest.mark.parametrize("name", ["metadata.csv", "rows.jsonl", "metadata.json"])
def test_rows_in_folders_of_a_folder_are_not_lost_to_classes(tmp_path, picture_bytes, said, name):
    for number, place in enumerate(("a", "b")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "0.png").write_bytes(picture_bytes(number))
        (tmp_path / place / name).write_text("file_name,question,answer\n0.png,Q,A\n")
    with pytest.raises(ValueError, match=f"holds a/{name}: give that folder, or format classes if all are classes"):
        open_data(tmp_path)
    assert [said(row)[1][1] for row in open_data(tmp_path, format="classes")] == ["a", "b"]


def test_annotations_of_single_pictures_do_not_make_rows(tmp_path, picture_bytes):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(picture_bytes(0))
    (tmp_path / "cat" / "0.json").write_text("{}")
    assert len(open_data(tmp_path)) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"image": "0.png", "question": "Q"},
            "no turns .* and no answer, only image, question: name the answer column",
        ),
        (
            {"image": "0.png", "answer": "A"},
            "has no question to its 'answer', .*: name the question column, or give one",
        ),
        ({"image": "0.png", "question": " ", "answer": "A"}, "its question is empty"),
        ({"image": "0.png", "caption": "A", "text": "B"}, "caption and text may each be its answer: name the answer"),
        ({"image": "0.png", "file_name": "1.png", "text": "B"}, "image and file_name may each be its image"),
        ({"image": "0.png", "question": "Q", "answer": {}}, "the answer is text or a number, but is a dict"),
        ({"image": "0.png", "question": "Q", "answer": True}, "the answer is text or a number, but is a bool"),
        ({"text": "A"}, "neither a picture nor a question of its own, only text"),
        ({"image": "9.png", "text": "A"}, "there is no picture"),
        ({}, "has no turns .*, nothing at all"),
    ],
)
def test_a_row_that_cannot_be_understood_is_named_with_the_remedy(write_lines, row, message):
    rows = open_data(write_lines({"image": "0.png", "text": "good"}, row))
    with pytest.raises((ValueError, FileNotFoundError), match=rf"metadata\.jsonl, line 2.*{message}") as caught:
        rows[1]
    assert "\n" not in str(caught.value)
    assert [type(row).__name__ == "ChatRow" for _, row in rows.attempts()] == [True, False]


def test_a_row_of_another_format_than_was_given_is_an_error(write_lines):
    folder = write_lines({"image": "0.png", "text": "A duck."}, name="rows.jsonl")
    with pytest.raises(ValueError, match="line 1 is no row of the format chat: it has no 'messages', only image, text"):
        open_data(folder, format="chat")[0]
    with pytest.raises(ValueError, match="there is no format 'yaml'; there is chat, llava, minimind-v, cauldron"):
        open_data(folder, format="yaml")
    with pytest.raises(ValueError, match="answer_column says nothing about rows of the format 'chat'"):
        open_data(folder, format="chat", answer_column="text")


def test_a_cell_may_hold_a_whole_picture(write_csv):
    uri = "data:image/png;base64," + "A" * 200_000
    rows = open_data(write_csv(("image", "question", "answer"), (uri, "Q", "A")))
    assert rows[0].images == [uri]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file_name,answer\n0.png,caf\xe9\n", "line 2 is not UTF-8: save the file as UTF-8"),
        (b'file_name,answer\n0.png,"open\n', "line 2 is not CSV"),
        (b"file_name,text,text\n0.png,a,b\n", "two columns named 'text'"),
        (b"file_name,text\n", "holds no rows"),
        (b"", "holds no rows"),
    ],
)
def test_a_broken_table_is_one_line(folder, content, message):
    (folder / "metadata.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        open_data(folder)
    assert "metadata.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_of_another_length_is_a_bad_row_and_not_a_bad_file(write_csv, said):
    rows = open_data(write_csv(HEADER, ("0.png", "Q", "A"), ("0.png", "Q"), ("1.png", "Q", "B")))
    assert said(rows[2]) == asked("Q", "B")
    with pytest.raises(ValueError, match="line 3: it has 2 cells, but the first line names 3 columns"):
        rows[1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.png"], "nothing that tells what to learn of them: add a metadata.csv"),
        (["train/cat/0.png", "test/cat/1.png"], "holds test, train: give one of these folders"),
        (["a.jsonl", "b.jsonl"], r"holds 2 files of rows \(a.jsonl, b.jsonl\): give one of them"),
        (["a.parquet", "b.tar"], "holds Parquet files and WebDataset shards"),
        (["notes.txt"], "holds no pictures, and no JSON"),
    ],
)
def test_a_folder_that_may_mean_several_things_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ValueError, match=message):
        open_data(tmp_path)


def test_what_is_not_there_or_no_format_at_all_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        open_data(tmp_path / "nowhere")
    (tmp_path / "rows.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"rows\.xlsx is none of a folder of pictures, JSON"):
        open_data(tmp_path / "rows.xlsx")
    with pytest.raises(ValueError, match="streaming is for datasets of the hub"):
        open_data(tmp_path, streaming=True)


def test_some_rows_keep_their_names_and_are_read_like_all(write_lines, said):
    rows = open_data(write_lines(*({"image": f"{n % 5}.png", "text": f"t{n}"} for n in range(400))))
    for chosen in ([3, 4, 7], [0, 399], list(range(0, 400, 3)), []):
        some = rows.subset(chosen)
        assert [said(row)[1][1] for row in some] == [f"t{n}" for n in chosen]
        assert [some.where(n) for n in range(len(some))] == [rows.where(n) for n in chosen]
    assert [said(row)[1][1] for row in rows.subset([3, 4, 7]).subset([0, 2])] == ["t3", "t7"]
    assert len(open_data(rows.path, limit=10)) == 10
    assert len(open_data(rows.path, limit=1000)) == 400


def test_of_two_hundred_thousand_rows_only_their_places_are_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    line = json.dumps({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A" * 200}]})
    path.write_text(f"{line}\n" * 200_000)
    rows = open_data(path)
    assert len(rows) == 200_000
    assert rows[199_999].where.endswith("line 200000")
    assert len(pickle.dumps(rows)) < 200_000 * 25 < path.stat().st_size / 10


def test_a_list_in_one_line_is_read_a_stretch_at_a_time(tmp_path, monkeypatch, said):
    from sightline.data.readers import places

    monkeypatch.setattr(places, "STRETCH", 7)
    rows = [{"messages": [{"role": "user", "content": f'猫 [{n}], "x"'}], "n": 10**n} for n in range(30)]
    (tmp_path / "rows.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    assert [row.fields["n"] for row in open_data(tmp_path / "rows.json")] == [10**n for n in range(30)]
    (tmp_path / "numbers.json").write_text(json.dumps([10**n for n in range(30)]))
    with pytest.raises(ValueError, match="row 30: it is no JSON object, but 1" + "0" * 29):
        open_data(tmp_path / "numbers.json")[29]


def test_neighbours_in_a_sparse_choice_are_read_together(write_lines, monkeypatch, said):
    rows = open_data(write_lines(*[{"image": "0.png", "question": "Q", "answer": f"t{n}"} for n in range(900)]))
    some = rows.subset([3, 4, 5, 400, 898, 899])
    read, asked_for = some._items.read, []
    monkeypatch.setattr(some._items, "read", lambda *given: asked_for.append(given) or read(*given))
    assert [said(row)[1][1] for row in some] == ["t3", "t4", "t5", "t400", "t898", "t899"]
    assert asked_for == [(3, 6), (400, 401), (898, 900)]
