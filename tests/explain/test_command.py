"""`sightline explain` as its user calls it: a page, a sheet or JSON; nobody's file overwritten; errors in one line."""

import json

import pytest
from PIL import Image

from sightline.cli import main


@pytest.fixture
def look(tiny_model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words, model=tiny_model_folder):
        code = main(["explain", *map(str, words), "--model", str(model), "--dtype", "float32"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


ANSWER = ("--answer", "A duck.")


@pytest.mark.parametrize("name", ["look.html", "deep/look.png"])
def test_the_file_is_written_and_may_be_written_again(look, picture, tmp_path, name):
    for _ in range(2):
        code, out, err = look(picture, "What is this?", *ANSWER, "--out", name)
        assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["word", "A", "duck", "."]
    assert out.splitlines()[-1] == f"written: {name}"
    assert (tmp_path / name).stat().st_size > 2000


def test_json_is_one_object_and_writes_no_file(look, picture, tmp_path):
    code, out, err = look(picture, picture, "Both?", *ANSWER, "--json", "--window", "2")
    assert code == 0, err
    report = json.loads(out)
    assert [word["text"] for word in report["words"]] == ["A", "duck", "."]
    assert (report["window"], report["stride"], report["grid"]) == (2, 1, [4, 4])
    assert len(report["words"][0]["occlusion"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_model_answers_where_no_answer_is_given(look, picture, tmp_path):
    code, out, err = look(picture, "What is this?", "--no-occlusion", model="sightline-tiny")
    assert code == 0, err
    assert out.count("%") >= 4
    assert "largest loss" not in out
    assert "Lost when hidden" not in (tmp_path / "look.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["mine.html", "mine.png"])
def test_somebodys_file_is_overwritten_only_with_force(look, picture, tmp_path, name):
    path = tmp_path / name
    if name.endswith("png"):
        Image.new("RGB", (5, 5)).save(path)
    else:
        path.write_text("<p>my notes on sightline explain</p>", encoding="utf-8")
    before = path.read_bytes()
    code, out, err = look(picture, "What?", *ANSWER, "--out", name)
    assert (code, out, path.read_bytes()) == (2, "", before)
    assert "--force" in err
    assert err.count("\n") == 1
    assert look(picture, "What?", *ANSWER, "--out", name, "--force")[0] == 0
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["What is this?"], "a picture and a question are needed"),
        (["square.png"], "is a file: give the question after it"),
        (["missing.png", "What?"], "there is no image file"),
        (["square.png", " "], "the question is empty"),
        (["-", "-", "What?"], "can be read once"),
        (["square.png", "What?", "--out", "look.pdf"], "(.html) or a contact sheet (.png), but not 'look.pdf'"),
        (["square.png", "What?", "--out", "folder.html"], "is a folder"),
        (["square.png", "What?", "--no-occlusion", "--window", "2"], "--window says nothing without occlusion"),
        (["square.png", "What?", "--layer", "2"], "there is no layer 2"),
        (["square.png", "What?", "--rollout", "--layer", "0"], "leave layer out"),
        (["square.png", "What?", "--window", "9"], "1 to 4 patches wide"),
        (["square.png", "What?", "--answer", " "], "holds no word"),
        (
            ["square.png", "?", "--answer", "A", "--max-new-tokens", "9"],
            "--max-new-tokens says nothing beside --answer",
        ),
        (["square.png", "What?", "--head", "x"], "--head"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(look, picture, tmp_path, words, message):
    (tmp_path / "square.png").write_bytes(picture.read_bytes())
    (tmp_path / "folder.html").mkdir()
    code, out, err = look(*words)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "square.png"]
