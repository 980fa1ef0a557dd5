"""Files of rows as other programs save them: in other encodings than UTF-8, or as one JSON object."""

import json
import pickle

import pytest

from sightline.data.readers import open_data

TABLE = 'file_name\tquestion\tanswer\r\n0.png\tWas?\t"ein\nBär"\r\n1.png\t什么?\t鸭\r\n'


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_a_table_in_utf_16_is_read(folder, said, order):
    (folder / "metadata.csv").write_bytes(("\ufeff" + TABLE).encode(order))
    rows = open_data(folder)
    assert [said(row)[1][1] for row in rows] == ["ein\nBär", "鸭"]
    assert said(pickle.loads(pickle.dumps(rows))[1]) == said(rows[1])
    assert rows.where(1) == f"{folder}/metadata.csv, line 4"


def test_json_lines_in_utf_16_are_read(folder, said):
    row = json.dumps({"image": "0.png", "text": "鸭"}, ensure_ascii=False)
    (folder / "rows.jsonl").write_bytes(f"{row}\n{row}\n".encode("utf-16"))
    assert [said(row)[1][1] for row in open_data(folder)] == ["鸭", "鸭"]


def test_a_damaged_file_in_utf_16_is_one_line(folder):
    (folder / "metadata.csv").write_bytes(TABLE.encode("utf-16")[:-1])
    with pytest.raises(ValueError, match=r"metadata\.csv begins as UTF-16, but is damaged: .*: save it as UTF-8"):
        open_data(folder)


@pytest.mark.parametrize(
    ("content", "encoding", "named"),
    [
        ("0.png,café", "cp1252", "Windows-1252"),
        ("0.png,ein Bär", "cp1252", "Windows-1252"),
        ("0.png,一只鸭子", "gbk", "GB18030"),
        ("0.png,café", "utf-16-le", "UTF-16 without a byte order mark"),
    ],
)
def test_another_encoding_is_named(folder, content, encoding, named):
    (folder / "metadata.csv").write_bytes(f"file_name,text\n{content}\n".encode(encoding))
    with pytest.raises(ValueError, match=rf"is not UTF-8: save the file as UTF-8 \(it seems to be {named}\)"):
        open_data(folder)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ({"info": {"years": [1]}, "data": [{"image": "0.png"}]}, "give the list in 'data', as a file of its own"),
        ({"images": [], "annotations": [{"id": 1}]}, "give the list in 'images' or 'annotations', as a file"),
        ({"a": {"b": 1}}, "give a list of rows"),
    ],
)
def test_one_json_object_over_several_lines_is_one_error(tmp_path, value, remedy):
    (tmp_path / "rows.json").write_text(json.dumps(value, indent=1))
    with pytest.raises(ValueError, match=rf"rows\.json is one JSON object, not a list: {remedy}"):
        open_data(tmp_path / "rows.json")


def test_one_json_object_in_one_line_is_an_error_unless_it_is_a_row(tmp_path, folder):
    (tmp_path / "rows.json").write_text(json.dumps({"version": 2, "questions": [{"question": "Q"}]}))
    with pytest.raises(ValueError, match="is one JSON object, not a list: give the list in 'questions', as a file"):
        open_data(tmp_path / "rows.json")
    for said in ({"question": "Q", "answers": [{"answer": "A"}]}, {"caption": "A", "boxes": [{"x": 1}]}):
        (folder / "rows.json").write_text(json.dumps({"file_name": "0.png", **said}))
        assert len(list(open_data(folder / "rows.json"))) == 1
