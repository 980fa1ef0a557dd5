"""A clean copy holds the good rows as they were, and their pictures; what it was made from stays as it is."""

import base64
import json
from pathlib import Path

import pytest
from PIL import Image

from sightline.data.check import Limits, check, write_clean
from sightline.data.readers import open_data


def state(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_copy_holds_the_good_rows_once_and_says_what_it_left_out(write, processor, chat, tmp_path):
    rows = [
        chat("Q", "A", images=["a.png"], kind="pets"),
        chat("Q", ""),
        chat("Q", "A", images=["a.png"], kind="again"),
        chat("Q", "B", images=["nowhere.png"]),
        chat("Text?", "C"),
        chat("Both?", "D", images=["a.png", "b.png"]),
    ]
    data, out = open_data(write(*rows)), tmp_path / "clean"
    before = state(tmp_path / "data")
    assert write_clean(data, check(data, processor, Limits()), out) == 3
    assert state(tmp_path / "data") == before
    clean = open_data(out)
    good = [data[n] for n in (0, 4, 5)]
    assert [row.messages for row in clean] == [row.messages for row in good]
    assert [row.fields for row in clean] == [row.fields for row in good]
    read = [[(out / name).read_bytes() for name in row["images"]] for row in lines(out / "data.jsonl")]
    assert read == [[Path(name).read_bytes() for name in row.images] for row in good]
    assert len(list((out / "images").rglob("*.png"))) == 2
    dropped = lines(out / "dropped.jsonl")
    assert sorted((one["row"], one["problem"]) for one in dropped) == [
        (1, "empty answer"),
        (2, "repeated row"),
        (3, "missing picture"),
    ]
    again = check(clean, processor, Limits())
    assert not again.bad
    assert not again.repeated
    # It can be moved: paths are relative.
    assert len(list(open_data(out.rename(tmp_path / "moved")))) == 3


def test_pictures_can_stay_where_they_lie(write, processor, chat, tmp_path):
    Image.effect_noise((40, 30), 50).save(tmp_path / "other.png")
    uri = "data:image/png;base64," + base64.b64encode((tmp_path / "other.png").read_bytes()).decode()
    data = open_data(write(chat("Q", "A", images=["a.png"]), chat("Both?", "D", images=["b.png", uri]), chat("Q", "")))
    assert write_clean(data, check(data, processor), tmp_path / "clean", copy_pictures=False) == 2
    assert not (tmp_path / "clean" / "images").exists()
    assert [row.images for row in open_data(tmp_path / "clean")] == [data[0].images, data[1].images]


def test_half_of_a_pair_is_kept_as_it_is(write, processor, chat, tmp_path):
    data = open_data(write(chat("Q", "A", images=["a.png"], note="\ud83d"), chat("Q", "")))
    assert write_clean(data, check(data, processor, Limits()), tmp_path / "clean") == 1
    assert [row.fields["note"] for row in open_data(tmp_path / "clean")] == ["\ud83d"]


def test_a_picture_that_is_known_by_its_ending_keeps_it(processor, tmp_path):
    (tmp_path / "cat").mkdir()
    Image.effect_noise((40, 30), 90).convert("RGB").save(tmp_path / "cat/0.ppm")
    data = open_data(tmp_path)
    assert write_clean(data, check(data, processor, Limits()), tmp_path / "clean") == 1
    assert not check(open_data(tmp_path / "clean"), processor, Limits()).bad


def test_every_row_that_is_left_out_is_named_however_many_there_are(write, processor, chat, tmp_path, monkeypatch):
    from sightline.data.check import run

    monkeypatch.setattr(run, "MOST", 2)
    rows = [*(chat(f"Q{n}", "") for n in range(5)), *(chat("Why?", "So.") for _ in range(5))]
    data = open_data(write(*rows))
    assert write_clean(data, check(data, processor, Limits()), tmp_path / "clean") == 1
    dropped = lines(tmp_path / "clean" / "dropped.jsonl")
    expected = [(n, "empty answer") for n in range(5)] + [(n, "repeated row") for n in range(6, 10)]
    assert [(one["row"], one["problem"]) for one in dropped] == expected
    assert [one["where"] for one in dropped] == [data.where(row) for row, _ in expected]
    assert dropped[4]["text"] == "one of 5 of its kind"


def test_the_copy_of_pictures_inside_a_container_has_them_as_files(tmp_path, processor, monkeypatch):
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    import io

    from PIL import Image
    from pyarrow import parquet

    held = io.BytesIO()
    Image.effect_noise((32, 32), 50).convert("RGB").save(held, "JPEG")
    turns = [{"role": "user", "content": "<image>\nQ"}, {"role": "assistant", "content": "A"}]
    rows = [{"conversations": json.dumps(turns), "image_bytes": held.getvalue(), "raw": b"\xff"}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    data = open_data(tmp_path / "rows.parquet")
    write_clean(data, check(data, processor), tmp_path / "clean")
    (row,) = open_data(tmp_path / "clean")
    assert row.images[0].endswith(".jpg")
    assert Path(row.images[0]).read_bytes() == held.getvalue()


def test_nothing_is_written_over_and_nothing_out_of_nothing(write, processor, chat, tmp_path):
    data = open_data(write(chat("Q", "A")))
    report = check(data, processor)
    for out in (tmp_path / "data", tmp_path / "data" / "rows.jsonl"):
        with pytest.raises(FileExistsError, match="is there already: name a folder that is new or empty"):
            write_clean(data, report, out)
    bad = open_data(write(chat("Q", ""), name="bad.jsonl"))
    with pytest.raises(ValueError, match=r"no row of .*bad\.jsonl is good"):
        write_clean(bad, check(bad, processor), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_a_copy_that_was_not_finished_leaves_nothing_in_the_way(write, processor, chat, tmp_path):
    data = open_data(write(chat("Q", "A")))
    report, out = check(data, processor), tmp_path / "clean"

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_clean(data, report, out, stop)
    assert not out.exists()
    (out / ".writing-all").mkdir(parents=True)  # as a kill leaves it
    (out / ".writing-all" / "data.jsonl").touch()
    assert write_clean(data, report, out) == 1
    assert sorted(path.name for path in out.iterdir()) == ["data.jsonl", "dropped.jsonl"]
