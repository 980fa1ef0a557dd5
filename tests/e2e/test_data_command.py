"""`sightline data` as its user calls it, in this process: what it prints and writes, and how it ends."""

import csv
import html
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sightline.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Eight pictures with two questions each, and a row without a picture; the folder above is the working folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "question", "answer"])
        for number in range(8):
            Image.effect_noise((64, 48), 90).convert("RGB").save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", "What <is> this?", f"A duck {number}."])
            writer.writerow([f"{number}.png", "Is it red?", "yes" if number < 6 else "no"])
        writer.writerow(["", "1+1?", 2])
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def data(photos, tiny_model_folder, capsys):
    def run(command, *words):
        code = main(["data", command, *map(str, words), "--model", str(tiny_model_folder)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def add(photos, *rows):
    with (photos / "metadata.csv").open("a", newline="") as file:
        csv.writer(file).writerows(rows)


def test_good_data_ends_well_and_says_what_it_is(data):
    code, out, err = data("check", "photos")
    assert (code, err) == (0, "")
    assert out.startswith("photos: 17 rows; rows with pictures in 'file_name', questions in 'question', answers in")
    assert "8 different" in out
    assert out.endswith("bad: 0 of 17 rows; warnings: 0\n")


def test_bad_rows_are_listed_counted_and_left_out_of_a_copy(data, photos, tmp_path):
    add(photos, ["9.png", "What?", "A cat."], ["0.png", "What?", ""], ["1.png", "Is it red?", "yes"])
    code, _, err = data("check", "photos", "--report", "clean/report.json", "--fix", "clean")
    assert (code, err.splitlines()[-1]) == (
        2,
        "sightline: --report clean/report.json lies in clean, which must be empty for --fix: name another file",
    )
    code, out, _ = data("check", "photos", "--report", "report.json", "--fix", "clean")
    assert code == 1
    assert "bad  photos/metadata.csv, line 19: missing picture: there is no picture" in out
    assert "bad  photos/metadata.csv, line 20: empty answer" in out
    assert "photos/metadata.csv, line 21: repeated row: it says what photos/metadata.csv, line 5 says" in out
    assert "bad: 2 of 20 rows; warnings: 1" in out
    assert "written: clean/data.jsonl (17 of 20 rows)" in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["bad_rows"] == 2
    assert [one["row"] for one in report["findings"]] == [17, 18, 19]
    assert data("check", "clean")[0] == 0
    code, out, err = data("check", "photos", "--fix", "clean")
    assert (code, out) == (2, "")
    assert err == "sightline: 'clean' is there already: name a folder that is new or empty\n"


def test_data_that_come_divided_are_looked_at_whole(data, photos):
    (photos / "metadata.csv").rename(photos / "train.csv")
    (photos / "test.csv").write_text("file_name,question,answer\n0.png,Is it red?,yes\n,2+2?,4\n,Left?,\n")
    code, out, _ = data("check", "photos", "--fix", "clean")
    assert code == 1
    assert "bad  photos/test.csv, line 4: empty answer" in out
    assert "photos/test.csv, line 2: repeated row: it says what photos/train.csv, line 3 says" in out
    assert "photos/test.csv holds out 2 rows of 19" in out
    assert "written: clean/train and clean/test (18 of 20 rows)" in out
    assert data("check", "clean")[0] == 0
    assert data("stats", "photos")[1].startswith("photos: 20 rows")
    data("show", "photos", "--count", 20)
    page = Path("show.html").read_text()
    assert "photos/train.csv, line 18" in page
    assert "photos/test.csv, line 3" in page


def test_json_is_the_report_alone(data, photos):
    add(photos, ["0.png", "What?", ""])
    code, out, err = data("check", "photos", "--json", "--fix", "clean")
    assert code == 1
    assert json.loads(out)["problems"] == {"empty answer": {"count": 1, "bad": True}}
    assert err == "written: clean/data.jsonl (17 of 18 rows)\n"


def test_the_list_is_cut_and_says_so(data, photos):
    add(photos, *(["0.png", f"Q{n}", ""] for n in range(7)), ["99.png", "Q", "A"])
    _, out, _ = data("check", "photos", "--list", 3)
    lines = [line for line in out.splitlines() if line.startswith("  bad")]
    assert [line.rpartition(", ")[2][:7] for line in lines] == [
        "line 19",
        "line 20",
        "line 26",
    ]  # one of each kind first
    assert "... and 5 more (--list, --report FILE)" in out
    assert re.search(r"empty answer +7 +bad", out)


def test_the_page_shows_rows_as_they_are_trained_on(data, photos, tiny_model_folder):
    add(photos, ["9.png", "What?", "A cat."])
    code, out, _ = data("show", "photos", "--count", 18, "--out", "show.html")
    assert code == 0
    assert out.endswith("written: show.html\n")
    page = Path("show.html").read_text(encoding="utf-8")
    assert page.count("<article>") == 18
    assert "What <is> this" not in page  # it is escaped
    assert "://" not in page  # and fetches nothing
    from sightline.data.readers import open_data
    from sightline.interop.load import load_processor

    _, processor = load_processor(tiny_model_folder)
    row = open_data("photos")[0]
    ((ids, mask),), _ = processor.encode_rows([(row.messages, row.images)])
    first = page[page.index("<article>") : page.index("</article>")]
    assert f"{len(ids)} tokens, {sum(mask)} of them carry loss" in first
    pieces = re.findall(r'<span class="(\w+)( loss)?"[^>]*>([^<]*)</span>', first)
    green = "".join(text for _, loss, text in pieces if loss)
    assert html.unescape(green) == "A duck 0.<|im_end|>"
    said = "".join(html.unescape(text) for kind, _, text in pieces if kind == "text")
    assert said == "user↵\nWhat <is> this?↵\nassistant↵\nA duck 0.↵\n"
    assert [text for kind, _, text in pieces if kind == "image"] == ["a picture: 16 tokens"]
    assert "32 x 32" in first  # the tower's size
    assert "there is no picture" in page


def test_prepared_pictures_are_what_the_tower_gets(tiny_model_folder, picture):
    import numpy as np

    from sightline.data.seen import prepared
    from sightline.interop.load import load_processor

    _, processor = load_processor(tiny_model_folder)
    seen = prepared(Image.open(picture), processor.image_processor)
    squeezed = np.asarray(Image.open(picture).resize((32, 32), Image.Resampling.BICUBIC), dtype=int)
    assert seen.size == (32, 32)
    assert np.abs(np.asarray(seen, dtype=int) - squeezed).max() <= 2


def test_figures_are_printed_drawn_and_given_as_json(data):
    code, out, _ = data("stats", "photos", "--out", "stats.html")
    assert code == 0
    assert re.search(r"yes +█+ +6 +35.3%", out)
    # "Is it red?" is yes 6 times of 8; nobody guesses the ducks, nor the sum.
    assert "guessed: 35.3% right without looking" in out
    page = Path("stats.html").read_text(encoding="utf-8")
    assert "What &lt;is&gt; this?" in page
    assert "always 64" in page
    found = json.loads(data("stats", "photos", "--json")[1])
    assert found["answers"]["yes"] == 6
    assert found["different_answers"] == 11
    assert found["numbers"]["picture width"]["most"] == 64
    assert found["guessed"] == 6 / 17


def test_rows_that_cannot_be_read_are_counted(data, photos):
    add(photos, ["9.png", "What?", "A cat."], ["only one cell"])
    assert "2 rows cannot be read: see sightline data check" in data("stats", "photos")[1]


def test_columns_prompts_and_limits_are_passed_on(data, photos):
    rows = [{"photo": f"{n}.png", "sagt": f"Ente {n}"} for n in range(8)]
    Path("photos/metadata.csv").unlink()
    Path("photos/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = ("--image-column", "photo", "--answer-column", "sagt", "--prompt", "Was?", "--limit", 5)
    code, out, _ = data("check", "photos", *named)
    assert code == 0
    assert out.startswith(
        "photos: 5 rows; rows with pictures in 'photo', asked: 'Was?', answers in 'sagt', in JSON lines"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "nowhere"], "there is no file or folder nowhere"),
        (["check", "photos", "--format", "yaml"], "there is no format 'yaml'"),
        (["check", "photos", "--held-out", "1"], "--held-out is auto or a share between 0 and 1"),
        (
            ["check", "photos", "--answer-column", "reply"],
            "photos has no column 'reply', only file_name, question, answer",
        ),
        (["check", "photos/metadata.csv", "--report", "photos/mine.html"], "is not a report of sightline data"),
        (["check", "photos", "--model", "./nowhere"], "there is no model './nowhere'"),
        (["check", "photos", "--streaming"], "streaming is for datasets of the hub"),
        (["show", "photos", "--out", "x.png"], "--out is a page (.html)"),
        (["show", "photos", "--out", "photos/mine.html"], "exists and is not a page of sightline data"),
        (["stats", "photos", "--out", "photos/mine.html"], "exists and is not a page of sightline data"),
        (["stats"], "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(photos, capsys, words, message):
    (photos / "mine.html").write_text("<p>mine</p>")
    before = (photos / "metadata.csv").read_bytes()
    assert main(["data", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert (photos / "mine.html").read_text() == "<p>mine</p>"
    assert (photos / "metadata.csv").read_bytes() == before


@pytest.mark.parametrize("words", [["data"], ["data", "check"], ["data", "show"], ["data", "stats"]])
def test_help_shows_an_example(words, capsys):
    assert main([*words, "--help"]) == 0
    assert f"Example: sightline {' '.join(words)}" in capsys.readouterr().out


def test_help_needs_none_of_the_heavy_libraries():
    heavy = "{'torch', 'transformers', 'datasets', 'pyarrow', 'pandas'} & set(sys.modules)"
    code = f"import sys; from sightline.cli import main; main(['data', 'check', '--help']); assert not {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_every_command_and_line_of_python_in_the_documentation_runs(photos, tiny_model_folder, capsys):
    text = PAGE.read_text(encoding="utf-8")
    (commands,) = re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL)
    for line in commands.splitlines():
        _, *words = shlex.split(line, comments=True)
        if words[0] == "train":  # a run of this recipe is tests/training's
            small = [
                "stages.instruct.samples=2",
                "train={batch_size: 2, workers: 0, eval_per_kind: 0}",
                "tune=projector",
            ]
            assert main([*words, f"model.checkpoint={tiny_model_folder}", "data.world.weight=0", *small]) == 0
        else:
            assert main([*words, "--model", str(tiny_model_folder)]) == 0
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(code, {})
    assert "rows with pictures in 'file_name'" in capsys.readouterr().out


def test_a_folder_is_evaluated_as_it_is(photos, tiny_model_folder, capsys):
    words = ["--tasks", "photos/", "--max-new-tokens", "2", "--workers", "0", "--out", "eval", "--json"]
    assert main(["eval", str(tiny_model_folder), *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["asked_now"] == 17


def test_a_recipe_trains_on_a_folder_without_what_it_holds_out(photos, tiny_model_folder, tmp_path):
    from sightline.data.readers import open_data
    from sightline.data.readers.sides import open_sides
    from sightline.training.sources import FileGroups

    groups = FileGroups(open_sides("photos", 0.4).train, seed=0)
    held = {row.images[0] for row in open_data("photos", split="held_out", held_out=0.4) if row.images}
    trained = {sample["images"][0] for n in range(len(groups)) for sample in groups.samples(n) if sample["images"]}
    assert len(held) + len(trained) == 8
    assert not held & trained
    # Two questions about one picture are one group.
    assert sorted(len(groups.members(n)) for n in range(len(groups)))[-1] == 2


def test_what_is_written_lies_beside_the_data_and_where_it_can(data, photos, tmp_path, monkeypatch):
    for option in ("--report", "--fix"):
        code, _, err = data("check", "photos", option, "photos/out")
        assert (code, "lies in photos, which is never changed" in err) == (2, True)
    (tmp_path / "file").touch()
    code, _, err = data("check", "photos", "--report", "file/report.json")
    assert (code, "cannot be written" in err, "is no folder" in err) == (2, True, True)
    monkeypatch.setattr("os.access", lambda *_: False)
    for command, option in (("check", "--fix"), ("show", "--out"), ("stats", "--out")):
        code, _, err = data(command, "photos", option, "new/out.html")
        assert (code, "may not be written to; name another place" in err) == (2, True)
