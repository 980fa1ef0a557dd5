"""What one file holds out no batch shows, in whatever file it stands, and whether or not that was looked through."""

import io
import json
import tarfile

import pytest
from PIL import Image
from rich.console import Console

from sightline.data.pictures import look_at
from sightline.data.readers import sides as module
from sightline.data.readers.splits import KEPT, key_of_text
from sightline.training import barring, streams
from sightline.training.barring import fresh
from sightline.training.batches import StageBatches
from sightline.training.build import build
from sightline.training.holdout import sides_of_run
from sightline.training.loop import train

COUNT = 60


@pytest.fixture
def files(tmp_path):
    """Sixty pictures in one file of rows, and the first twenty of them in another, under other names."""

    def row(number, name):
        Image.new("RGB", (32, 32), (4 * number, 9, 9)).save(tmp_path / name)
        return {"image": name, "question": "Which?", "answer": f"A{number}"}

    for name, count, suffix in (("all", COUNT, "png"), ("some", 20, "bmp")):
        rows = [row(number, f"{number}.{suffix}") for number in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return [str(tmp_path / f"{name}.jsonl") for name in ("all", "some")]


def keys(rows):
    return {look_at(source).key[:KEPT] for row in rows for source in row.images}


def answers(batches, steps):
    decode = batches.processor.decode
    rows = [row for step in range(steps) for batch in batches[step] for row in batch["labels"]]
    return {decode(row[row >= 0].tolist()).removesuffix("<|im_end|>") for row in rows}


def told(rows):
    return {row.messages[-1]["content"][0]["text"] for row in rows}


def test_no_stage_learns_what_another_stages_file_holds_out(make_recipe, files):
    data = {"world": {"weight": 0}, "held_out": "auto"}
    stages = [
        {"kind": "joint", "name": name, "steps": 1, "data": {"files": [{"path": path}]}}
        for name, path in zip(("first", "second"), files, strict=True)
    ]
    recipe = make_recipe(data={**data, "files": [{"path": files[1]}]}, stages=stages)
    _, processor = build(recipe)
    sides = sides_of_run(recipe)
    held = set().union(*(told(one.held_out) for one in sides))
    assert any("another file holds out are left out" in str(one) for one in sides)
    for stage, one in zip(recipe.stages, sides, strict=True):
        taught = answers(StageBatches(recipe, stage, processor, 32), 60)
        assert taught == told(one.train)
        assert not taught & held


@pytest.mark.parametrize("share", [0, "auto"])
def test_rows_that_were_not_looked_through_are_left_out_when_they_are_met(make_recipe, files, monkeypatch, share):
    if share:
        monkeypatch.setattr(module, "MOST", 40)
        monkeypatch.setattr(module, "SAMPLE", 30)
    listed = [{"path": files[0], "held_out": share}, {"path": files[1], "weight": 0.01}]
    recipe = make_recipe(data={"world": {"weight": 0}, "held_out": "auto", "files": listed})
    _, processor = build(recipe)
    sides = sides_of_run(recipe)
    held = set().union(*(told(one.held_out) for one in sides if one.held_out is not None))
    assert told(sides[0].train) & held  # they are in the file
    assert "are left out when they are met" in str(sides[0])
    batches = StageBatches(recipe, recipe.stages[0], processor, 32)
    taught = answers(batches, 120)
    assert not taught & held
    assert taught >= told(sides[0].train) - held
    assert [[*batches._places(step)] for step in range(9)] == [[*batches._places(step)] for step in range(9)]


def test_a_stream_is_kept_apart_from_its_validation_rows(make_recipe, files, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK_ROWS", 16)
    monkeypatch.setattr(barring, "BLOCK_ROWS", 16)
    path = tmp_path / "rows.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for number in range(COUNT):
            words = json.dumps({"question": "Which?", "answer": f"A{number}"}).encode()
            for suffix, content in (("png", (tmp_path / f"{number}.png").read_bytes()), ("json", words)):
                entry = tarfile.TarInfo(f"{number:03}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    listed = [{"path": str(path), "validation": files[1]}]
    recipe = make_recipe(data={"world": {"weight": 0}, "files": listed})
    _, processor = build(recipe)
    taught = answers(StageBatches(recipe, recipe.stages[0], processor, 32), 60)
    assert {f"A{number}" for number in range(32, COUNT)} <= taught
    assert not taught & {f"A{number}" for number in range(20)}


def test_a_picture_that_cannot_be_read_is_named_by_who_makes_the_batch():
    class Broken:
        barred = frozenset([b"key"])

        def group(self, number):
            return [{"messages": [], "images": ["/nowhere.png"]}]

    assert fresh(Broken(), 7) == 7


def test_a_source_of_nothing_else_ends_in_an_error():
    said = [{"role": "user", "content": [{"type": "text", "text": "Tell."}]}]

    class Same:
        barred = frozenset([key_of_text(said)[:KEPT]])

        def group(self, number):
            return [{"messages": said, "images": []}]

        def origin(self, number):
            return "rows.jsonl, line 8"

    with pytest.raises(ValueError, match=r"line 8, and all of 16,384 groups of rows behind it, show \(or ask\) what"):
        fresh(Same(), 7)


def test_a_run_of_two_files_says_how_many_rows_are_left_out(make_recipe, files, tmp_path):
    data = {"world": {"weight": 0}, "held_out": "auto", "files": [{"path": path} for path in files]}
    recipe = make_recipe(data=data, stages=[{"kind": "joint", "steps": 1}])
    console = Console(file=io.StringIO(), width=300)
    train(recipe, tmp_path / "run", console=console)
    sides = sides_of_run(recipe)
    assert not set().union(*(keys(one.train) for one in sides)) & set().union(*(keys(one.held_out) for one in sides))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    left_out = [one["how"] for one in report["split"] if "more rows that show (or ask) what another file" in one["how"]]
    assert left_out
    assert left_out[0] in console.file.getvalue()
