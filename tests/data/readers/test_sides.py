"""What is learned from and what is held out: no picture on both sides, however the data come divided."""

import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.data.pictures import look_at
from sightline.data.readers import open_data
from sightline.data.readers import sides as module
from sightline.data.readers.divided import Divided, open_divided
from sightline.data.readers.own_split import own_split
from sightline.data.readers.sides import LEAST, SAMPLE, STRETCHES, apart, open_sides, sampled
from sightline.data.readers.splits import KEPT, held_out_rows


def save(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixty different pictures in a folder, each under two names."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(60):
        save(folder / f"{number}.png", number)
        save(folder / f"again-{number}.bmp", number)
    return folder


def table(folder, numbers, name="rows.jsonl"):
    """Rows that show these pictures, by turns under one name and the other; None: a row without a picture."""
    rows = []
    for place, number in enumerate(numbers):
        picture = {} if number is None else {"image": [f"{number}.png", f"again-{number}.bmp"][place % 2]}
        rows.append({**picture, "question": f"Q{place % 3 if number is None else place}?", "answer": str(number)})
    return write(folder / name, rows)


def shown(rows):
    return {look_at(source).key for row in rows for source in row.images}


def asked(rows):
    return {row.messages[0]["content"][0]["text"] for row in rows if not row.images}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.none() | st.integers(0, 59), min_size=3, max_size=80), st.sampled_from(["auto", 0.3]))
def test_no_picture_and_no_text_stands_on_both_sides(pictures, numbers, share):
    path = table(pictures, numbers)
    try:
        sides = open_sides(path, share)
    except ValueError:  # a share may leave one side of few groups empty
        assert len(set(numbers)) < 25
        return
    if sides.held_out is None:
        assert len(sides.train) == len(numbers)
        return
    assert not shown(sides.train) & shown(sides.held_out)
    assert not asked(sides.train) & asked(sides.held_out)
    counts = sides.train_count, sides.held_out_count
    assert [one.rows for one in counts] == [len(sides.train), len(sides.held_out)]
    assert [one.pictures for one in counts] == [len(shown(sides.train)), len(shown(sides.held_out))]
    assert sum(one.texts for one in counts) == numbers.count(None)
    assert len(sides.train) + len(sides.held_out) == len(numbers)


@pytest.mark.parametrize(
    ("pictures_there", "held", "words"),
    [
        (2, 0, "these are too few pictures to hold some out"),
        (5, 1, "at most a third of the pictures, as there are so few"),
        (30, 10, "at most a third of the pictures, as there are so few"),
        (60, 20, "20 pictures, as 10% of them would be fewer"),
    ],
)
def test_so_few_pictures_give_twenty_or_a_third_as_is_said(pictures, pictures_there, held, words):
    sides = open_sides(table(pictures, range(pictures_there)))
    assert len(sides.held_out or ()) == held
    assert sides.how.startswith(words)
    assert ("too few" in str(sides)) == (held == 0)


def test_many_pictures_give_their_tenth(tmp_path):
    keys = [[f"{number:064d}".encode()[::-1]] for number in range(4000)]
    assert held_out_rows(keys, 0.1, LEAST).tolist() == held_out_rows(keys, 0.1).tolist()
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "{number}?", "answer": "A"}}\n' for number in range(400)))
    assert open_sides(rows).how.startswith("10% of the pictures, known by")


def test_it_is_said_how_many_rows_and_pictures_are_on_either_side(pictures):
    sides = open_sides(table(pictures, [*range(6), *range(6), None]), 0.3)
    assert str(sides).startswith(f"{pictures}/rows.jsonl: ")
    train, held = sides.train_count, sides.held_out_count
    assert f"{train.rows} rows, {train.pictures} pictures" in str(sides)
    assert f"{held.rows} rows, {held.pictures} pictures held out" in str(sides)
    assert "1 of the rows without one" in str(sides)
    assert sides.as_dict()["held_out_pictures"] + sides.as_dict()["train_pictures"] == 6


@pytest.mark.parametrize(("name", "other"), [("test", None), ("val", "test")])
def test_a_data_sets_own_split_is_held_out_without_what_it_shares_with_the_other_side(tmp_path, name, other):
    for number in range(6):
        save(tmp_path / "train" / "cat" / f"{number}.png", number)
    for number in range(5, 9):
        save(tmp_path / name / "dog" / f"{number}.png", number)
    if other:
        save(tmp_path / other / "dog" / "9.png", 9)
    sides = open_sides(tmp_path)
    assert (len(sides.train), len(sides.held_out)) == (6, 3)
    assert not shown(sides.train) & shown(sides.held_out)
    assert "less 1 rows that show (or ask) what is learned from" in str(sides)
    save(tmp_path / "same" / "cat" / "1.png", 1)
    with pytest.raises(ValueError, match=r"all 1 rows of .*same show pictures that .*train shows too: take another"):
        open_sides(tmp_path / "train", validation=tmp_path / "same")


def smooth(number):
    pixels = np.random.default_rng(number).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC)


def test_pictures_held_out_that_look_like_one_that_is_learned_from_are_counted_and_told(tmp_path):
    own = tmp_path / "own"
    pictures = {"own/train": range(30), "own/test": range(100, 130), "other": [200, 3], "mine": [300]}
    for place, numbers in pictures.items():
        (tmp_path / place / "cat").mkdir(parents=True)
        for number in numbers:
            smooth(number).save(tmp_path / place / "cat" / f"{number}.png")
    assert open_sides(own).near_copies == open_sides(own).as_dict()["near_copies_across"] == 0
    assert "look like" not in str(open_sides(own))
    smooth(3).save(own / "test" / "cat" / "resaved.jpg", quality=90)
    smooth(5).resize((60, 60)).save(own / "test" / "cat" / "smaller.png")
    smooth(101).resize((60, 60)).save(own / "test" / "cat" / "of-its-own-side.png")
    sides = open_sides(own)
    assert sides.as_dict()["near_copies_across"] == 2
    assert "2 pictures of them look like one that is learned from" in str(sides)
    # Another file holds a picture out of them: it is not learned from, and what looks like it flatters no more.
    other = open_sides(tmp_path / "mine", validation=tmp_path / "other")
    assert [one.near_copies for one in apart([sides, other])] == [1, 0]


def test_files_called_train_and_test_are_such_a_split_too(pictures):
    train, test = table(pictures, range(4), "train.jsonl"), table(pictures, range(10, 13), "test.jsonl")
    try:
        assert own_split(train) == (str(train), str(test))
        assert len(open_sides(train).held_out) == 3
        assert open_sides(train, 0).held_out is None
        # A share that is asked for goes before the data set's own split.
        assert "50% of the pictures" in open_sides(train, 0.5).how
    finally:
        test.unlink()
        train.unlink()
    assert own_split(table(pictures, range(3))) is None


def parquet(path, numbers):
    """A file with one picture a row."""
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    from pyarrow.parquet import write_table

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in numbers:
        save(path.parent.parent / "one.png", number)
        picture = (path.parent.parent / "one.png").read_bytes()
        rows.append({"image": {"bytes": picture, "path": None}, "question": "Which?", "answer": str(number)})
    (path.parent.parent / "one.png").unlink()
    write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("train", "held"),
    [
        (["data/train-00000-of-00001.parquet"], ["data/test-00000-of-00001.parquet"]),
        (["train-00000-of-00001-0a1b2c3d.parquet"], ["validation-00000-of-00001-0a1b2c3d.parquet"]),
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], ["data/val.0.parquet"]),
        (["train_0.parquet", "train_1.parquet"], ["dev-0.parquet", "dev-1.parquet"]),
        (["train/a.parquet", "train/b.parquet"], ["test/a.parquet"]),
    ],
)
def test_the_usual_names_of_files_of_rows_are_such_a_split_too(tmp_path, monkeypatch, train, held):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "set"
    for number, name in enumerate(train):
        parquet(place / name, range(4 * number, 4 * number + 4))
    for number, name in enumerate(held):
        parquet(place / name, range(40 + 3 * number, 43 + 3 * number))
    (place / "dataset_infos.json").write_text("{}")
    sides = open_sides(place)
    answers = [{row.messages[1]["content"][0]["text"] for row in rows} for rows in (sides.train, sides.held_out)]
    assert answers[0] == {str(number) for number in range(4 * len(train))}
    assert answers[1] == {str(number) for number in range(40, 40 + 3 * len(held))}
    # Together they would be learned from.
    with pytest.raises(ValueError, match=r"holds .*train.*: give one of them, as "):
        open_data(place)
    assert {row.where for row in sides.train} == {row.where for row in open_data(f"{place}@train")}


def test_a_held_out_split_beside_files_of_other_names_is_refused(tmp_path):
    for name in ("train-0.parquet", "test-0.parquet", "more.parquet"):
        parquet(tmp_path / "set" / name, [1])
    with pytest.raises(ValueError, match=r"holds test, train beside more\.parquet: give one of them, as .*set@train"):
        open_sides(tmp_path / "set")
    (tmp_path / "set" / "test-0.parquet").unlink()
    assert len(open_data(tmp_path / "set")) == 2  # nobody has said what else it may be
    with pytest.raises(FileNotFoundError, match="set has no split 'test'"):
        open_data(tmp_path / "set@test")


@pytest.mark.parametrize(
    "names",
    [
        ("en/train-0.parquet", "en/test-0.parquet"),
        ("vqa_train.parquet", "vqa_test.parquet"),
        ("in1k-train-0000.parquet", "in1k-validation-00.parquet"),
        ("Training.parquet", "Evaluation.parquet"),
    ],
)
def test_splits_of_other_names_are_not_put_together(tmp_path, names):
    for name in names:
        parquet(tmp_path / "set" / name, [1])
    with pytest.raises(ValueError, match=f"holds {names[1]} beside {names[0]}: give the folder or the files of one"):
        open_data(tmp_path / "set")


@pytest.mark.parametrize(
    "folders", [("Training/glioma", "Testing/glioma"), ("brain/train/a", "brain/val/a"), ("train/a", "TEST/a")]
)
def test_folders_of_pictures_of_two_splits_are_not_put_together(tmp_path, folders):
    for number, folder in enumerate(folders):
        save(tmp_path / folder / "0.png", number)
    with pytest.raises(ValueError, match=r"holds folders called .* and .*: give that of one split, or format classes"):
        open_data(tmp_path)
    assert len(open_data(tmp_path, format="classes")) == 2


def test_a_held_out_side_without_answers_is_said_to_be_one(tmp_path):
    (tmp_path / "train.csv").write_text("question,answer\n" + "".join(f"Q{n},A\n" for n in range(4)))
    (tmp_path / "test.csv").write_text("question\nQ9\n")
    with pytest.raises(ValueError, match=r"test\.csv is taken for what .*train\.csv holds out.*data\.held_out=0\.1"):
        open_sides(tmp_path)


def test_what_helps_with_pictures_without_answers_is_said_and_does(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        save(tmp_path / "train" / name / "a.png", number)
        save(tmp_path / "test" / f"{number}.png", 2 + number)
    with pytest.raises(ValueError, match=r"`data check .* --held-out 0\.1` leaves it alone") as caught:
        open_divided(tmp_path)
    (named,) = re.findall(r"`data check (\S+) --held-out", str(caught.value))
    assert len(open_data(named)) == 2


@pytest.mark.parametrize("format", [None, "classes"])
def test_a_class_may_be_called_train(tmp_path, format):
    for number, name in enumerate(("bus", "car", "train")):
        for again in range(4):
            save(tmp_path / name / f"{again}.png", 4 * number + again)
    assert own_split(tmp_path) is None
    assert "3 classes (bus, car, train)" in open_data(tmp_path, format=format).format
    sides = open_sides(tmp_path, format=format)
    assert (len(sides.train), len(sides.held_out)) == (8, 4)
    save(tmp_path / "test" / "0.png", 30)
    if format == "classes":
        assert len(open_data(tmp_path, format=format)) == 13
    else:
        with pytest.raises(ValueError, match="holds test, train beside bus: give one of these folders, or format cla"):
            open_sides(tmp_path)


@pytest.fixture
def hub(monkeypatch):
    """A hub whose one dataset has these splits; what it says where it is unwell."""
    datasets = pytest.importorskip("datasets", reason="the extra [data] is not installed")
    known = {"train": range(4), "val": range(10, 12), "test": range(20, 23)}
    faults = []

    def names(path, config=None):
        if faults:
            raise faults[0]
        return list(known)

    def load(path, config, split, streaming):
        return datasets.Dataset.from_dict(
            {"question": [f"Q{n}" for n in known[split]], "answer": ["A"] * len(known[split])}
        )

    monkeypatch.setattr(datasets, "get_dataset_split_names", names)
    monkeypatch.setattr(datasets, "load_dataset", load)
    return faults


def test_a_dataset_of_the_hub_has_the_splits_that_it_says(hub):
    sides = open_sides("hub:some/rows")
    assert (sides.train.path, sides.held_out.path) == ("hub:some/rows@train", "hub:some/rows@val")
    assert (len(sides.train), len(sides.held_out)) == (4, 2)
    assert own_split("hub:some/rows@test") is None


@pytest.mark.parametrize("fault", [ConnectionError("timed\nout"), OSError("reset"), ValueError("Config is missing")])
def test_a_fault_of_the_network_changes_no_split(hub, fault):
    hub.append(fault)
    with pytest.raises((FileNotFoundError, ValueError), match="hub:some/rows") as caught:
        open_sides("hub:some/rows")
    assert "\n" not in str(caught.value)


def test_a_folder_whose_metadata_tell_of_all_pictures_is_not_divided_by_its_folders(tmp_path):
    for side in ("train", "test"):
        save(tmp_path / side / "a" / "1.png", len(side))
    assert own_split(tmp_path) is not None
    (tmp_path / "metadata.csv").write_text("file_name,question,answer\ntrain/a/1.png,What?,This.\n")
    assert own_split(tmp_path) is None


def test_rows_beside_the_folders_of_their_pictures_are_not_divided_by_these(tmp_path):
    for side in ("train", "test"):
        save(tmp_path / side / "cat" / "a.png", len(side))
    assert own_split(tmp_path) is not None
    row = {"image": "test/cat/a.png", "question": "What colour?", "answer": "black"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert own_split(tmp_path) is None


def test_a_fingerprint_tells_which_rows_are_held_out(pictures):
    path = table(pictures, range(30))
    prints = [open_sides(path, share).fingerprint() for share in (0, 0.2, 0.5, 0.2)]
    assert len(set(prints)) == 3
    assert prints[1] == prints[3]
    assert prints[0] == open_sides(path, 0).train.fingerprint()


def test_rows_that_can_be_read_in_order_only_need_rows_of_their_own_to_hold_out(pictures, monkeypatch):
    path, held = table(pictures, range(30)), table(pictures, range(40, 45), "held.jsonl")
    original = module.Data.is_in_order_only.fget
    monkeypatch.setattr(
        module.Data, "is_in_order_only", property(lambda rows: rows.path == str(path) or original(rows))
    )
    assert "of a stream none is held out" in str(open_sides(path))
    with pytest.raises(ValueError, match="no share can be held out: give validation"):
        open_sides(path, 0.3)
    apart_ = open_sides(path, validation=held)
    assert {key[:KEPT] for key in shown(apart_.held_out)} == apart_.barred
    held.unlink()


def test_an_own_split_that_can_be_read_in_order_only_is_neither_learned_from_nor_asked(tmp_path, monkeypatch):
    for number in range(4):
        save(tmp_path / ("train" if number else "test") / "cat" / f"{number}.png", number)
    monkeypatch.setattr(module.Data, "is_in_order_only", property(lambda rows: rows.path.endswith("test")))
    sides = open_sides(tmp_path)
    assert (len(sides.train), sides.held_out) == (3, None)
    assert "test can be read in order only and is left out: decompress it" in str(sides)
    data = Divided(str(tmp_path), open_data(tmp_path / "train"), open_data(tmp_path / "test"))
    assert module.told_apart(data, [[bytes([number])] for number in range(4)], range(4), "auto").tolist() == [
        0,
        0,
        0,
        -1,
    ]


def in_all(*sides):
    """What is shown, or asked without a picture, on all training sides, and on all held-out sides."""
    trained = [shown(one.train) | asked(one.train) for one in sides]
    return set().union(*trained), set().union(*(shown(one.held_out) | asked(one.held_out) for one in sides))


def test_what_one_file_holds_out_no_other_teaches(pictures):
    one = open_sides(table(pictures, [*range(60), None, None]))
    other = open_sides(table(pictures, [*range(20), *range(20), None], "other.jsonl"))
    trained, held = in_all(one, other)
    assert trained & held  # each file by itself has its own threshold
    divided = apart([one, other])
    trained, held = in_all(*divided)
    assert not trained & held
    for before, after in zip((one, other), divided, strict=True):
        dropped = len(before.train) - len(after.train)
        assert after.held_out is before.held_out
        assert (after is before) == (dropped == 0)
        assert after.train_count == (
            len(after.train),
            len(shown(after.train)),
            len([1 for row in after.train if not row.images]),
        )
        if dropped:
            assert f"; {dropped} more rows that show (or ask) what another file holds out are left out" in str(after)
            assert before.fingerprint() != after.fingerprint()
    assert any(after is not before for before, after in zip((one, other), divided, strict=True))
    alone = open_sides(table(pictures, range(10), "alone.jsonl"))
    assert apart([alone])[0] is alone


def test_a_file_of_nothing_but_what_others_hold_out_is_refused(pictures):
    whole = open_sides(table(pictures, range(60)))
    names = sorted({int(row.messages[1]["content"][0]["text"]) for row in whole.held_out})[:2]
    with pytest.raises(
        ValueError, match=r"all \d rows of .*copy\.jsonl show \(or ask\) what is held out of .*rows\.jsonl"
    ):
        apart([whole, open_sides(table(pictures, names, "copy.jsonl"))])


@pytest.fixture
def few(monkeypatch):
    """Twenty-four rows are many."""
    monkeypatch.setattr(module, "MOST", 23)
    monkeypatch.setattr(module, "SAMPLE", 12)
    monkeypatch.setattr(module, "STRETCHES", 4)


def test_of_a_file_too_large_to_be_looked_through_a_sample_is_held_out_and_its_pictures_barred(pictures, few):
    opened = []
    path = table(pictures, [*range(30), *range(30)])
    sides = open_sides(path, on_row=lambda: opened.append(1))
    assert len(opened) == 12
    assert 0 < len(sides.held_out) < 12
    assert len(sides.train) + len(sides.held_out) == 60
    assert {key[:KEPT] for key in shown(sides.held_out)} == sides.barred == sides.held_keys
    assert "of more than 23 rows a part of 12 from all over them" in str(sides)
    again = open_sides(path)
    assert again.fingerprint() == sides.fingerprint() != open_sides(path, 0).fingerprint()
    small = open_sides(table(pictures, range(20), "small.jsonl"))
    large, left = apart([sides, small])
    assert large.barred == sides.held_keys | small.held_keys
    trained = {key[:KEPT] for key in shown(left.train)}
    assert not trained & large.held_keys


def test_rows_of_one_question_are_too_few_to_hold_some_out_however_many_they_are(pictures, few):
    path = write(pictures / "told.jsonl", [{"question": "Tell a tale.", "answer": str(n)} for n in range(40)])
    assert "too few" in open_sides(path).how
    assert open_sides(path).barred == frozenset()


def test_a_split_of_its_own_is_barred_where_the_training_side_is_too_large_to_be_searched(pictures, few):
    train, held = table(pictures, range(30)), table(pictures, [*range(25, 40)], "held.jsonl")
    sides = open_sides(train, validation=held)
    assert (len(sides.train), len(sides.held_out)) == (30, 15)
    assert {key[:KEPT] for key in shown(sides.held_out)} == sides.barred
    many = open_sides(table(pictures, range(5), "few.jsonl"), validation=train)
    assert len(many.held_out) < 12  # a sample, less what is shown on both sides
    assert not shown(many.train) & shown(many.held_out)


def test_samples_are_from_all_over_and_of_packed_rows_in_stretches(pictures, monkeypatch):
    rows = open_data(table(pictures, [0] * 5000))
    spread = sampled(rows)
    assert len(set(spread.tolist())) == SAMPLE
    assert spread[0] < 50 < 4950 < spread[-1] < 5000
    monkeypatch.setattr(module.Data, "holds_pictures", True)
    packed = sampled(rows)
    assert len(set(packed.tolist())) == SAMPLE
    assert (np.diff(packed) > 1).sum() == STRETCHES - 1
    assert (packed[0], packed[-1]) == (0, 4999)
