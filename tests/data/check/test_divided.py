"""A data set that comes with a held-out split of its own is looked at as training reads it: both sides, kept apart."""

import pytest
from PIL import Image

from sightline.data.check import check, write_clean
from sightline.data.readers import open_data
from sightline.data.readers.divided import Divided, open_divided
from sightline.data.readers.sides import open_sides


@pytest.fixture
def folder(write, chat):
    """Three rows to learn from; three held out, of which one shows what is learned from and one is bad."""
    write(*(chat("Q", str(n), images=[f"{n}.png"]) for n in range(3)), name="train.jsonl")
    held = [chat("Q", "3", images=["3.png"]), chat("Q?", "0", images=["0.png"]), chat("Q", "", images=["4.png"])]
    return write(*held, name="test.jsonl").parent


def test_rows_of_both_sides_keep_their_names_and_order(folder):
    data = open_divided(folder)
    assert isinstance(data, Divided)
    assert len(data) == 6
    names = [where for where, _ in data.attempts()]
    assert names == [data.where(row) for row in range(6)]
    assert [name.rpartition("/")[2] for name in names] == [
        f"{side}.jsonl, line {line}" for side in ("train", "test") for line in (1, 2, 3)
    ]
    assert [where for where, _ in data.subset([1, 4]).attempts()] == [names[1], names[4]]
    assert "train.jsonl" in data.format
    assert "test.jsonl" in data.format


def test_the_rows_that_are_held_out_are_those_that_training_holds_out(folder, processor):
    sides = open_sides(folder)
    split = check(open_divided(folder), processor).split
    assert split["own"] == sides.held_out.path
    assert (split["train"], split["held_out"]) == (len(sides.train), len(sides.held_out)) == (3, 2)


def test_near_copies_of_what_is_learned_from_are_counted_as_training_counts_them(folder, processor, write, chat):
    with Image.open(folder / "1.png") as picture:
        picture.convert("RGB").point(lambda value: min(255, value + 1)).save(folder / "lighter.png")
    rows = [chat("Q", "1", images=["lighter.png"]), chat("Q", "3", images=["3.png"])]
    write(*rows, name="test.jsonl")
    report, sides = check(open_divided(folder), processor), open_sides(folder)
    assert report.split["near_copies_across"] == sides.near_copies == 1
    assert report.counts["near copy"] == 1


@pytest.mark.parametrize("most", [2, 20])
def test_which_side_gives_way_depends_on_sizes_as_in_training(folder, processor, monkeypatch, most):
    from sightline.data.readers import sides

    monkeypatch.setattr(sides, "MOST", most)
    split = check(open_divided(folder), processor).split
    divided = open_sides(folder)
    assert split["held_out"] == len(divided.held_out)
    assert split["train"] == 3 - bool(divided.barred)


def test_a_clean_copy_is_divided_as_before(folder, processor, tmp_path):
    data = open_divided(folder)
    report = check(data, processor)
    assert set(report.bad) == {5}
    assert write_clean(data, report, tmp_path / "clean") == 5
    before, after = open_sides(folder), open_sides(tmp_path / "clean")
    assert [row.messages for row in after.train] == [row.messages for row in before.train]
    assert [row.messages for row in after.held_out] == [before.held_out[0].messages]
    with pytest.raises(ValueError, match="clean holds test, train: give one of"):
        open_data(tmp_path / "clean")


def test_a_side_of_bad_rows_is_not_written(write, chat, processor, tmp_path):
    write(chat("Q", "A"), name="train.jsonl")
    data = open_divided(write(chat("Q", ""), name="test.jsonl").parent)
    with pytest.raises(ValueError, match=r"no row of .*test\.jsonl is good"):
        write_clean(data, check(data, processor), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_a_held_out_side_without_answers_is_named_with_what_helps(tmp_path):
    (tmp_path / "train.csv").write_text("question,label\nQ,A\n")
    (tmp_path / "test.csv").write_text("question,id\nQ,1\n")
    with pytest.raises(ValueError, match=r"no column 'label'.*test\.csv is taken for what .*train\.csv holds out"):
        open_divided(tmp_path / "train.csv", answer_column="label")
