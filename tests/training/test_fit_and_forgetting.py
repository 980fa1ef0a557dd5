"""Where nothing is held out, rows that are trained on are asked, and every figure says so; the world is asked twice."""

import io
import json

import pytest
from PIL import Image
from rich.console import Console

from sightline.training import settling
from sightline.training.looks import FIT
from sightline.training.loop import train
from sightline.training.settling import settled
from sightline.training.tuning import choose


def run(make_recipe, folder, file, **data):
    data = {"world": {"weight": 0.5, "things": 4, "languages": ["en"]}, "files": [file], **data}
    recipe = make_recipe(data=data, train={"eval_per_kind": 1}, stages=[{"kind": "joint", "steps": 1}])
    console = Console(file=io.StringIO(), width=200)
    train(recipe, folder / "run", console=console)
    return json.loads((folder / "run" / "report.json").read_text()), console.file.getvalue()


def test_rows_mixed_with_the_world_are_asked_where_none_are_held_out(make_recipe, tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    row = {"image": "a.png", "question": "Which colour?", "answer": "Red.", "kind": "colours"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    report, printed = run(make_recipe, tmp_path, {"path": str(tmp_path / "rows.jsonl")}, held_out="auto")
    assert "too few pictures to hold some out" in report["split"][0]["how"]
    assert report["held_out"] is None
    assert report["accuracy"]["about"] == FIT
    assert list(report["accuracy"]["kinds"]) == ["colours"]
    assert report["accuracy"]["overall"]["total"] == 1
    assert report["built_in_world"]["before"]["overall"]["total"] >= 20
    assert FIT in printed
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"Accuracy {FIT}" in page
    assert "What was forgotten of the built-in world" in page


def test_forgetting_is_measured_where_rows_ask_nothing(make_recipe, tmp_path):
    told = {"messages": [{"role": "assistant", "content": "Once upon a time."}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(told) + "\n")
    report, _ = run(make_recipe, tmp_path, {"path": str(tmp_path / "rows.jsonl")}, held_out=0)
    assert report["built_in_world"]["before"]["overall"]["total"] >= 20


def test_the_first_rows_of_a_stream_are_asked(make_recipe, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra [data] is not installed")
    held = datasets.Dataset.from_dict({"question": [f"Q{n}" for n in range(9)], "answer": ["A"] * 9})
    monkeypatch.setattr(datasets, "load_dataset", lambda *name, **more: held.to_iterable_dataset())
    report, printed = run(make_recipe, tmp_path, {"path": "hub:some/rows", "streaming": True}, held_out="auto")
    assert report["accuracy"]["about"] == FIT
    assert report["accuracy"]["overall"]["total"] == 4
    assert FIT in printed


def test_a_picture_behind_many_rows_of_words_is_seen_before_it_is_chosen_what_to_tune(
    make_recipe, tmp_path, monkeypatch
):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    rows = [{"question": f"{n}?", "answer": "A"} for n in range(120)]
    rows += [{"image": "a.png", "question": f"{n}?", "answer": "A"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = []
    monkeypatch.setattr(settling, "choose", lambda found: seen.append(found) or choose(found))
    monkeypatch.setattr(settling, "_parameters", lambda section: (10**6, 10**6))
    recipe = make_recipe(data={"world": {"weight": 0}, "files": [{"path": str(tmp_path / "rows.jsonl")}]})
    fields = recipe.model_dump(exclude_none=True) | {"tokenizer": {}, "model": {"checkpoint": "x"}, "tune": "auto"}
    fields |= {"stages": [{"kind": "instruct", "steps": 1}]}
    settled(type(recipe).model_validate(fields))
    assert seen[0].pictures
