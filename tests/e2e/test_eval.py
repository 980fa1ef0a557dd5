"""`sightline eval` as its user calls it: a table, one JSON object, a page; killed and called again; refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from sightline.cli import main
from sightline.commands.evaluate import Axis, Metric
from sightline.commands.evaluate import _file as tasks_file
from sightline.data.scenes import KINDS
from sightline.data.scenes.world import AXES
from sightline.evaluation.metrics import METRICS


@pytest.fixture
def evaluate(tiny_model_folder, tmp_path, capsys):
    def run(*words, out="run"):
        fixed = ["--out", str(tmp_path / out), "--dtype", "float32", "--max-new-tokens", "3", "--workers", "0"]
        code = main(["eval", str(tiny_model_folder), *map(str, words), *fixed])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


FEW = ["--tasks", "name,size", "--per-kind", "3", "--batch-size", "4"]


def test_the_world_is_asked_and_counted(evaluate, tmp_path):
    code, out, err = evaluate(*FEW)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["kind", "en", "zh", "all", "n"]
    assert [line.split()[0] for line in lines[1:4]] == ["name", "size", "all"]
    assert lines[3].split()[-1] == "12"
    assert str(tmp_path / "run" / "mistakes.html") in out
    answers = [json.loads(line) for line in (tmp_path / "run" / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 12
    assert set(answers[0]) == {"kind", "language", "index", "question", "truth", "answer", "right", "sure", "shown"}
    assert {(one["kind"], one["language"]) for one in answers} == {
        (k, x) for k in ("name", "size") for x in ("en", "zh")
    }
    page = (tmp_path / "run" / "mistakes.html").read_text(encoding="utf-8")
    assert page.count("<article") == sum(not one["right"] for one in answers) + sum(one["right"] for one in answers)


def test_what_writes_out_its_evidence_is_also_judged_by_its_result(evaluate, tmp_path):
    asked = ["--tasks", "name,nearest", "--per-kind", "2", "--languages", "en"]
    code, out, err = evaluate(*asked)
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["kind", "all", "result", "n"]
    assert len(lines[2]) == len(lines[1]) + 2  # a share and its interval; a name is its own result
    assert "result: by what stands behind the evidence alone" in out
    report = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert list(report["results_alone"]) == ["nearest"]
    assert report["results_alone"]["nearest"]["total"] == 2
    assert "result alone" in (tmp_path / "run" / "mistakes.html").read_text(encoding="utf-8")


def test_kinds_of_one_topic_are_added_up(evaluate, tmp_path):
    code, out, err = evaluate("--tasks", "name,beside,nearest", "--per-kind", "2", "--languages", "en")
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    topics = lines[lines.index(["topic", "all", "result", "n"]) + 1 :]
    assert topics[0][0] == "relations"
    assert topics[0][-1] == "4"
    report = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    right = sum(report["kinds"][kind]["right"] for kind in ("beside", "nearest"))
    assert list(report["topics"]) == list(report["topics_alone"]) == ["relations"]
    assert (report["topics"]["relations"]["right"], report["topics"]["relations"]["total"]) == (right, 4)
    assert report["topics_alone"]["relations"]["total"] == 4
    assert "By topic" in (tmp_path / "run" / "mistakes.html").read_text(encoding="utf-8")


def test_json_is_one_object_that_the_folder_holds_too(evaluate, tmp_path):
    code, out, err = evaluate(*FEW, "--languages", "zh", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report == json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert report["overall"]["total"] == 6
    assert list(report["kinds"]) == ["name", "size"]
    assert list(report["languages"]) == ["zh"]
    assert report["asked_now"] == 6
    assert json.loads(evaluate(*FEW, "--languages", "zh", "--json")[1])["asked_now"] == 0


@pytest.mark.parametrize("batch_size", [1, 7])
def test_how_many_are_asked_at_once_changes_nothing(evaluate, tmp_path, batch_size):
    evaluate(*FEW)
    evaluate(*FEW, "--batch-size", batch_size, out="other")
    first, second = (sorted((tmp_path / name / "answers.jsonl").read_text().splitlines()) for name in ("run", "other"))
    assert first == second


def test_another_evaluation_does_not_go_on_from_this_one(evaluate):
    assert evaluate(*FEW)[0] == 0
    for words in ([*FEW, "--per-kind", "4"], ["--tasks", "name", "--per-kind", "3"], [*FEW, "--things", "9"]):
        code, out, err = evaluate(*words)
        assert code == 2
        assert out == ""
        assert err.count("\n") == 1
        assert "holds answers with" in err


def test_stopped_it_says_that_the_same_command_goes_on(evaluate, monkeypatch, tmp_path):
    from sightline.evaluation import evaluate as module

    asked, original = [], module.answer

    def stops(model, processor, questions, *rest):
        for batch in original(model, processor, questions, *rest):
            if asked:
                raise KeyboardInterrupt
            asked.append(batch)
            yield batch

    monkeypatch.setattr(module, "answer", stops)
    code, _, err = evaluate(*FEW)
    assert code == 130
    assert "stopped with 4 of 12 answers" in err
    assert "the same command goes on" in err
    monkeypatch.setattr(module, "answer", original)
    assert json.loads(evaluate(*FEW, "--json")[1])["asked_now"] == 8


@pytest.fixture
def rows(tmp_path, picture):
    path = tmp_path / "mine.jsonl"
    question = [{"role": "user", "content": "What is this?"}, {"role": "assistant", "content": "A square."}]
    path.write_text(
        json.dumps({"messages": question, "images": [str(picture)], "kind": "shapes"})
        + "\n"
        + json.dumps({"messages": question, "choices": ["a circle", "a square"], "kind": "<b>"})
        + "\n"
    )
    return path


def test_a_file_of_ones_own_is_evaluated(evaluate, rows, tmp_path):
    code, out, err = evaluate("--tasks", rows)
    assert code == 0, err
    assert out.splitlines()[0].split() == ["kind", "all", "n"]
    answers = [json.loads(line) for line in (tmp_path / "run" / "answers.jsonl").read_text().splitlines()]
    told = sorted((one["kind"], one["index"], one["truth"]) for one in answers)
    assert told == [("<b>", 1, "A square."), ("shapes", 0, "A square.")]
    page = (tmp_path / "run" / "mistakes.html").read_text(encoding="utf-8")
    assert page.count("<article") == 2
    assert '<option value="&lt;b&gt;">&lt;b&gt;</option>' in page


def test_the_rows_of_the_documentation_are_asked(evaluate, picture, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "your-own-questions.md").read_text(encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(re.search(r"```json\n(.*?)```", page, flags=re.DOTALL)[1], encoding="utf-8")
    (tmp_path / "square.png").write_bytes(picture.read_bytes())
    code, out, err = evaluate("--tasks", tmp_path / "rows.jsonl", "--json")
    assert code == 0, err
    kinds = json.loads(out)["kinds"]
    assert {kind: share["total"] for kind, share in kinds.items()} == {"rows": 2, "choices": 1, "signs": 1}


def test_answers_about_other_pictures_are_not_taken_over(evaluate, tmp_path):
    for folder, colour in (("red", "red"), ("blue", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 30), colour).save(tmp_path / folder / "a.png")
    path = tmp_path / "mine.jsonl"
    turns = [{"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": "Red."}]
    path.write_text(json.dumps({"messages": turns, "images": ["a.png"]}))
    words = ["--tasks", path, "--image-folder"]
    assert evaluate(*words, tmp_path / "red")[0] == 0
    code, out, err = evaluate(*words, tmp_path / "blue")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds answers with image_folder=" in err
    (tmp_path / "blue" / "a.png").replace(tmp_path / "red" / "a.png")
    code, _, err = evaluate(*words, tmp_path / "red")
    assert code == 2
    assert "line 1: its picture was changed since it was asked about: give another --out" in err


def test_a_picture_that_cannot_be_opened_costs_no_answer(evaluate, tmp_path):
    turns = [{"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": "Red."}]
    rows = [json.dumps({"messages": turns, "images": [f"{number}.png"]}) for number in range(9)]
    (tmp_path / "mine.jsonl").write_text("\n".join(rows))
    for number in range(9):
        Image.new("RGB", (40, 30), (200, number, 0)).save(tmp_path / f"{number}.png")
    whole = (tmp_path / "8.png").read_bytes()
    (tmp_path / "8.png").write_bytes(whole[:60])
    words = ["--tasks", tmp_path / "mine.jsonl", "--batch-size", "1"]
    code, _, err = evaluate(*words)
    assert (code, "line 9" in err) == (2, True)
    assert len((tmp_path / "run" / "answers.jsonl").read_text().splitlines()) == 8
    (tmp_path / "8.png").write_bytes(whole)
    code, out, err = evaluate(*words, "--json")
    assert (code, json.loads(out)["asked_now"]) == (0, 1), err


def test_another_template_is_another_measurement(tiny_model_folder, tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    words = ["eval", str(folder), "--tasks", "colour", "--per-kind", "1", "--out", str(tmp_path / "run")]
    words += ["--max-new-tokens", "3", "--workers", "0"]
    assert main(words) == 0
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert main(words) == 2
    assert "holds answers with preparation=" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said_before_a_model_is_loaded(tmp_path, capsys):
    (tmp_path / "file").touch()
    for out, complaint in (("file", "is a file: name a folder"), ("file/run", "is no folder")):
        assert main(["eval", "./no-such-model", "--out", str(tmp_path / out)]) == 2
        assert complaint in capsys.readouterr().err


def test_tasks_may_name_every_kind_or_a_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tasks_file(",".join(KINDS)) is None
    assert tasks_file("photos@test") is None
    Path("photos").mkdir()
    assert tasks_file("photos@test") == "photos@test"


def test_a_folder_that_is_called_as_a_kind_is_told_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    with pytest.raises(ValueError, match=r"give \./digits, or 'digits,' for the kind"):
        tasks_file("digits")
    assert tasks_file("./digits") == "./digits"
    assert tasks_file("digits,") is None


def test_answers_to_another_edition_of_the_world_are_not_taken_over(evaluate, monkeypatch):
    assert evaluate(*FEW)[0] == 0
    monkeypatch.setattr("sightline.evaluation.tasks.edition", lambda: "another")
    code, _, err = evaluate(*FEW)
    assert code == 2
    assert "holds answers with world=" in err


def test_kinds_are_told_as_they_are_written(evaluate, picture, tmp_path):
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A square."}]
    rows = [{"messages": turns, "images": ["square.png"], "kind": kind} for kind in ("[/x]", "a[dev]")]
    (tmp_path / "square.png").write_bytes(picture.read_bytes())
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, err = evaluate("--tasks", tmp_path / "mine.jsonl")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["[/x]", "a[dev]"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "nmae"], "unknown kind 'nmae': did you mean 'name'?"),
        (["--tasks", "nowhere.jsonl"], "there is no file or folder nowhere.jsonl"),
        (["--tasks", "ROWS", "--axis", "font"], "--axis says nothing about the file"),
        (["--tasks", "ROWS", "--languages", "en"], "--languages says nothing about the file"),
        (["--metric", "anls"], "--metric says nothing about the built-in world: give --tasks FILE"),
        (["--tasks", "ROWS", "--metric", "choice"], "mine.jsonl, line 1: multiple choice needs 'choices'"),
        (["--tasks", "name", "--axis", "font"], "the axis 'font' does not ask 'name'"),
        (["--languages", "fr"], "'fr'"),
        (["--tasks", ","], "--tasks ',' names nothing"),
        (["--axis", "sideways"], "sideways"),
        (["--per-kind", "0"], "--per-kind"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_exit_code_2(evaluate, rows, words, message):
    code, out, err = evaluate(*(str(rows) if word == "ROWS" else word for word in words))
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_bad_file_is_found_before_a_model_loads(rows, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("this takes seconds")

    monkeypatch.setattr("sightline.interop.load.load", refuse)
    rows.write_text("{}")
    assert main(["eval", "sightline-tiny", "--tasks", str(rows)]) == 2
    assert "line 1 has no turns (messages, conversations, texts) and no answer" in capsys.readouterr().err


def test_the_folder_is_named_after_model_tasks_and_axis(monkeypatch, tmp_path, tiny_model_folder, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model").symlink_to(tiny_model_folder)
    words = ["--tasks", "word", "--axis", "font", "--languages", "en", "--per-kind", "1", "--max-new-tokens", "1"]
    assert main(["eval", "mine/model", *words, "--workers", "0"]) == 0, capsys.readouterr().err
    assert (tmp_path / "runs" / "eval-mine-word-font" / "results.json").is_file()


def test_options_offer_what_there_is():
    assert set(get_args(Axis)) == set(AXES)
    assert set(get_args(Metric)) == {*METRICS, "choice"}


def test_help_shows_an_example(capsys):
    assert main(["eval", "--help"]) == 0
    assert "Example: sightline eval" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_at_any_moment_the_answers_are_those_of_an_undisturbed_run(tiny_model_folder, tmp_path):
    def command(out):
        words = ["eval", tiny_model_folder, "--tasks", "name,size,word", "--per-kind", "40", "--batch-size", "4"]
        return [sys.executable, "-m", "sightline.cli", *words, "--out", tmp_path / out, "--max-new-tokens", "4"]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command("whole"), check=True, capture_output=True, env=environment, timeout=300)
    path, kills = tmp_path / "cut" / "answers.jsonl", 0
    for size in (1, 9_000, 20_000):
        running = subprocess.Popen(
            command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        while running.poll() is None and not (path.exists() and path.stat().st_size >= size):
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        kills += running.wait() == -signal.SIGKILL
    assert kills >= 2
    subprocess.run(command("cut"), check=True, capture_output=True, env=environment, timeout=300)
    whole, cut = (sorted((tmp_path / name / "answers.jsonl").read_text().splitlines()) for name in ("whole", "cut"))
    assert cut == whole
    assert len(whole) == 240


@pytest.fixture
def table(tmp_path):
    """A folder of thirty pictures, each in a row of a table with columns of its own naming."""
    folder = tmp_path / "shop"
    folder.mkdir()
    lines = ["photo,wanted,told"]
    for number in range(30):
        Image.new("RGB", (24, 24), (number * 8, 40, 90)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,Which?,{number}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


COLUMNS = ["--image-column", "photo", "--question-column", "wanted", "--answer-column", "told"]


def test_a_table_is_read_by_the_columns_that_are_named(evaluate, table, tmp_path):
    assert evaluate("--tasks", table)[0] == 2
    code, _, err = evaluate("--tasks", table, *COLUMNS)
    assert code == 0, err
    answers = [json.loads(line) for line in (tmp_path / "run" / "answers.jsonl").read_text().splitlines()]
    assert {one["truth"] for one in answers} == {str(number) for number in range(30)}
    code, _, err = evaluate("--tasks", table, *COLUMNS, "--prompt", "What?")
    assert code == 2
    assert "holds answers with prompt=None, not 'What?'" in err


def test_only_what_training_holds_out_is_asked(evaluate, table, tmp_path):
    from sightline.data.readers.sides import open_sides

    reading = {"image_column": "photo", "question_column": "wanted", "answer_column": "told"}
    for out, share in (("auto", "auto"), ("half", 0.5)):
        sides = open_sides(table, share, **reading)
        code, _, err = evaluate("--tasks", table, *COLUMNS, "--held-out", share, out=out)
        assert code == 0, err
        assert f"data: {sides}" in err
        answers = [json.loads(line) for line in (tmp_path / out / "answers.jsonl").read_text().splitlines()]
        held = {row.messages[-1]["content"][0]["text"] for row in sides.held_out}
        assert {one["truth"] for one in answers} == held
        assert len(held) == (10 if share == "auto" else len(sides.held_out)) < 30


def test_a_folder_needs_no_slash(evaluate, table, monkeypatch):
    monkeypatch.chdir(table.parent)
    code, out, err = evaluate("--tasks", "shop", *COLUMNS, "--json")
    assert code == 0, err
    assert json.loads(out)["overall"]["total"] == 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--held-out", "auto"], "--held-out says nothing about the built-in world"),
        (["--image-column", "a"], "--image-column says nothing about the built-in world"),
        (
            ["--tasks", "./x.jsonl", "--held-out", "some"],
            "--held-out is auto or a share between 0 and 1, but is 'some'",
        ),
    ],
)
def test_options_of_ones_own_data_are_refused_where_they_say_nothing(evaluate, words, message):
    code, _, err = evaluate(*words)
    assert code == 2
    assert message in err


def test_a_narrow_terminal_loses_no_figure(evaluate, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, out, err = evaluate("--tasks", "nearest", "--per-kind", "2")
    assert code == 0, err
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    head = next(line.split() for line in plain.splitlines() if line.startswith("kind"))
    assert head == ["kind", "en", "zh", "all", "result", "n"]
    assert "…" not in out
