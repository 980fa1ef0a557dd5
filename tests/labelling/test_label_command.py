"""`sightline label` as its user calls it, in this process, with a small model: what it writes, prints and refuses."""

import json
import shutil

import pytest

from sightline.cli import main
from sightline.data.readers import open_data


@pytest.fixture
def label(talkative, capsys, tmp_path):
    """Runs the command; `out` is where its results go."""

    def run(*words, prompt="What is this?"):
        words = [*map(str, words), "--out", str(run.out), "--model", str(talkative), "--max-new-tokens", "4"]
        code = main(["label", *words, "--dtype", "float32", *(["--prompt", prompt] if prompt is not None else [])])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.out = tmp_path / "labels.jsonl"
    return run


def generated(folder, rows):
    """What `model.generate` says to each row alone."""
    import sightline

    model, processor = sightline.load(folder, dtype="float32")
    for row in rows:
        images = iter(row.images)
        messages = [
            {
                **message,
                "content": [
                    {"type": "image", "image": next(images)} if part["type"] == "image" else part
                    for part in message["content"]
                ],
            }
            for message in row.messages[:-1]
        ]
        inputs = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        tokens = model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        yield processor.decode(tokens, skip_special_tokens=True)


def test_the_answers_are_those_of_the_model_asked_alone(label, make_pictures, talkative):
    folder = make_pictures(*[f"{n}.png" for n in range(5)])
    code, out, err = label(folder, "--batch-size", "3")
    rows = list(open_data(label.out))
    said = [row.messages[-1]["content"][0]["text"] for row in rows]
    assert code == 0, err
    assert len(rows) == 5
    assert said == list(generated(talkative, rows))
    assert "5 of 5 rows labelled" in out
    assert "rows/s" in out


def test_the_same_command_goes_on_and_then_has_nothing_to_do(label, make_pictures):
    folder = make_pictures(*[f"{n}.png" for n in range(5)])
    code, out, _ = label(folder, "--limit", "2")
    assert code == 0
    assert "2 of 2 rows labelled, " in out
    assert "3 left" in out
    begun = label.out.read_bytes()
    assert "5 of 5 rows labelled" in label(folder)[1]
    whole = label.out.read_bytes()
    assert whole.startswith(begun)
    code, out, _ = label(folder)
    assert code == 0
    assert "nothing to do" in out
    assert label.out.read_bytes() == whole


def test_json_counts(label, make_pictures):
    folder = make_pictures("0.png", "1.png")
    (folder / "1.png").write_bytes(b"no picture")
    code, out, err = label(folder, "--json")
    report = json.loads(out)
    assert code == 0
    assert {name: report[name] for name in ("rows", "labelled", "bad", "asked_now")} == {
        "rows": 2,
        "labelled": 1,
        "bad": 1,
        "asked_now": 2,
    }
    assert "the first bad row is 1.png" in err
    assert "labels.bad.jsonl" in label(folder)[1]


def test_where_every_row_is_bad_it_failed(label, make_pictures):
    folder = make_pictures("0.png")
    (folder / "0.png").write_bytes(b"no picture")
    code, out, err = label(folder)
    assert code == 1
    assert "0 of 1 rows labelled, 1 bad" in out
    assert "not an image" in err
    assert label(folder)[0] == 1


def test_a_file_of_rows_brings_its_own_questions(label, make_pictures, write_lines):
    make_pictures("0.png")
    path = write_lines({"image": "0.png", "prompt": "How many ducks are there?"})
    code, _, err = label(path, "--image-folder", path.parent / "data", prompt=None)
    assert code == 0, err
    assert open_data(label.out)[0].messages[0]["content"][1]["text"] == "How many ducks are there?"


@pytest.mark.parametrize(
    ("words", "prompt", "error"),
    [
        ([], None, "give --prompt"),
        ([], " ", "--prompt is empty"),
        (["--image-field", "x"], "What?", "--image-field says nothing about"),
        (["--workers", "2"], "What?", "--workers says nothing without --ray"),
        (["--out", "labels.csv"], "What?", "ends in .jsonl"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(make_pictures, words, prompt, error, tmp_path, capsys):
    given = [] if prompt is None else ["--prompt", prompt]
    out = str(tmp_path / "labels.jsonl")
    assert main(["label", str(make_pictures("0.png")), "--out", out, *words, *given]) == 2
    assert error in capsys.readouterr().err


def test_pictures_that_a_job_has_written_are_not_dropped_to_label_them(label, make_pictures):
    kept = label.out.with_suffix(".images") / "ab"
    kept.mkdir(parents=True)
    shutil.copy(make_pictures("0.png") / "0.png", kept / "0.png")
    code, _, err = label(kept.parent, "--restart")
    assert code == 2
    assert "cannot be read and written at once: give another --out" in err
    assert (kept / "0.png").exists()


def test_what_was_labelled_is_not_dropped_to_label_it_again(label, make_pictures):
    label(make_pictures("0.png"))
    before = label.out.read_bytes()
    for more in ([], ["--restart"]):
        code, _, err = label(label.out, *more)
        assert code == 2
        assert "cannot be read and written at once: give another --out" in err
    assert label.out.read_bytes() == before


def test_other_settings_are_refused_in_one_line(label, make_pictures):
    folder = make_pictures("0.png")
    label(folder)
    before = label.out.read_bytes()
    code, _, err = label(folder, prompt="Why?")
    assert code == 2
    assert "holds answers with prompt='What is this?', not 'Why?'" in err
    assert len([line for line in err.splitlines() if line.startswith("sightline: ")]) == 1
    assert label.out.read_bytes() == before
    assert label(folder, "--restart", prompt="Why?")[0] == 0
    assert label.out.read_bytes() != before
