"""Every reader gives the rows in their order, from any of them on; what is wrong with a container is one line."""

import json

import pytest

from sightline.labelling.rows import open_rows


def wheres(rows, start=0, stop=10**6):
    return [item.where for item in rows.read(start, stop)]


def test_a_folder_is_read_whole_and_sorted(make_pictures):
    left_out = ("a/z.txt", ".hidden.png", ".git/x.png")
    folder = make_pictures("b.PNG", "a/z.jpeg", "c.heic", "a/same.png", "same.png", *left_out)
    rows = open_rows(folder)
    assert wheres(rows) == ["a/same.png", "a/z.jpeg", "b.PNG", "c.heic", "same.png"]
    assert len(rows) == 5
    assert next(rows.read(2, 3)).fields == {"image": "b.PNG"}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_lines_are_read_from_any_of_them_on(write_lines, name):
    rows = [{"image": f"{n}.png"} for n in range(5)]
    path = write_lines(*([json.dumps(rows)] if name == "rows.json" else rows), name=name)
    opened = open_rows(path)
    assert len(opened) == 5
    assert [item.fields for item in opened.read(0, 5)] == rows
    assert [item.fields for item in opened.read(3, 9)] == rows[3:]


def test_a_table_is_read_from_any_row_on(tmp_path):
    (tmp_path / "rows.csv").write_text('image,question\n0.png,"What,\nthis?"\n1.png,Why?\n')
    rows = open_rows(tmp_path / "rows.csv")
    assert [item.fields for item in rows.read(1, 9)] == [{"image": "1.png", "question": "Why?"}]
    assert wheres(rows) == ["rows.csv, line 2", "rows.csv, line 4"]


def test_a_linked_file_is_read_by_its_own_name_and_place(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/0a1b").write_text("image,question\n0.png,Why?\n")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/rows.csv").symlink_to(tmp_path / "blobs/0a1b")
    rows = open_rows(tmp_path / "set/rows.csv")
    assert wheres(rows) == ["rows.csv, line 2"]
    assert rows.folder == tmp_path / "set"


def test_a_broken_line_is_one_row_that_says_so(write_lines):
    path = write_lines({"image": "a"}, "{broken", "", "[1]", {"image": "b"})
    items = list(open_rows(path).read(0, 9))
    assert [item.where for item in items] == [f"rows.jsonl, line {n}" for n in (1, 2, 4, 5)]
    assert "is not JSON" in items[1].error
    assert "no JSON object" in items[2].error
    assert not items[0].error
    assert not items[3].error


def parquet(path, columns, **options):
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, **options)
    return path


def test_parquet_is_read_from_any_row_of_any_group_on(tmp_path):
    values = list(range(100))
    path = parquet(tmp_path / "p" / "a.parquet", {"n": values, "image": [bytes([n]) for n in values]}, row_group_size=7)
    parquet(tmp_path / "p" / "sub" / "b.parquet", {"n": [100, 101], "image": [b"x", b"y"]})
    one, both = open_rows(path), open_rows(tmp_path / "p")
    assert (len(one), len(both)) == (100, 102)
    for start, stop in [(0, 200), (6, 8), (13, 55), (99, 101), (100, 102), (40, 40)]:
        assert [item.fields["n"] for item in both.read(start, stop)] == list(range(102))[start:stop]
    assert wheres(both, 99, 101) == ["a.parquet, row 100", "sub/b.parquet, row 1"]
    assert next(one.read(5, 6)).fields == {"n": 5, "image": b"\x05"}


def test_parquet_rows_are_cut_within_a_batch_of_reading(tmp_path):
    path = parquet(tmp_path / "a.parquet", {"n": list(range(150))})
    for start, stop in [(0, 150), (31, 33), (32, 64), (70, 149)]:
        assert [item.fields["n"] for item in open_rows(path).read(start, stop)] == list(range(start, stop))


def test_a_damaged_parquet_file_is_named(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as Parquet"):
        open_rows(tmp_path / "a.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(ImportError, match=r"sightline\[data\]"):
        open_rows(tmp_path / "a.parquet")


FILES = [
    ("./dir/000.jpg", b"first"),
    ("./dir/000.txt", "question 猫".encode()),
    ("./dir/000.cls", b"7"),
    ("001.PNG", b"second"),
    ("001.seg.png", b"a mask is no picture of its own"),
    ("001.json", b'{"prompt": "Why?", "image": "a name", "id": 3}'),
    ("__meta__/info.json", b"{}"),
    ("README", b"no sample"),
    ("002.txt", b"no picture"),
    ("003.jpg", b"x"),
    ("003.png", b"two pictures"),
    ("004.jpg", b"x"),
    ("004.json", b"{"),
    ("005.webp", b"last"),
]


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_shard_is_read_from_any_sample_on(write_shard, name):
    rows = open_rows(write_shard(name, FILES))
    assert len(rows) == 6
    items = list(rows.read(0, 6))
    assert [list(rows.read(n, n + 1)) for n in range(6)] == [[item] for item in items]
    assert list(rows.read(4, 99)) == items[4:]
    assert items[0].where == f"{name}, ./dir/000"
    assert items[0].fields == {"image": b"first", "txt": "question 猫", "label": "7"}
    assert items[1].fields == {"image": b"second", "prompt": "Why?", "id": 3}
    assert "one picture, but this has 0" in items[2].error
    assert "2 (jpg, png)" in items[3].error
    assert ".json" in items[4].error
    assert items[5].fields == {"image": b"last"}


def test_shards_go_on_into_each_other(write_shard):
    # The last sample of one and the first of the next have the same key, and are two.
    write_shard("s/0.tar", [("a.png", b"0"), ("b.png", b"1")])
    folder = write_shard("s/1.tar", [("b.png", b"2"), ("a.png", b"3"), ("b.png", b"4")]).parent
    rows = open_rows(folder)
    assert [item.fields["image"] for item in rows.read(1, 4)] == [b"1", b"2", b"3"]
    assert wheres(rows) == ["0.tar, a", "0.tar, b", "1.tar, b", "1.tar, a", "1.tar, b"]


@pytest.mark.filterwarnings("ignore")
def test_samples_are_those_of_the_webdataset_library(write_shard):
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    good = [file for file in FILES if file[0][:3] not in ("003", "004")]
    path = write_shard("shard.tar", good)
    theirs = list(wds.WebDataset(str(path), shardshuffle=False))
    ours = list(open_rows(path).read(0, 99))
    assert [f"shard.tar, {sample['__key__']}" for sample in theirs] == [item.where for item in ours]
    pictures = [sample.get("jpg") or sample.get("png") or sample.get("webp") for sample in theirs]
    assert pictures == [item.fields.get("image") for item in ours]


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_shard_that_is_cut_short_is_refused_before_anything_is_labelled(write_shard, name):
    path = write_shard(name, [(f"{n}.png", bytes(range(256)) * 20) for n in range(9)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cut short, after"):
        open_rows(path)


@pytest.mark.parametrize("at", ["between two entries", "in a header", "a wrong byte", "its end"])
def test_a_shard_that_is_damaged_between_files_loses_no_sample_silently(write_shard, at):
    path = write_shard("a.tar", [(f"{n}.png", bytes(512)) for n in range(9)])
    content = bytearray(path.read_bytes())
    second = 2 * 512  # where an entry begins: each has a header and one block
    if at == "a wrong byte":
        content[second + 20] ^= 255
    else:
        del content[{"between two entries": second, "in a header": second + 100, "its end": 18 * 512}[at] :]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar is damaged or cut short, after [19] samples"):
        open_rows(path)


def test_what_cannot_be_labelled_is_said(make_pictures, write_shard, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        open_rows(tmp_path / "nothing")
    with pytest.raises(ValueError, match="holds no pictures"):
        open_rows(make_pictures("a.txt", folder="texts"))
    with pytest.raises(ValueError, match="none of"):
        open_rows(make_pictures("a.png") / "a.png")
    write_shard("data/b.tar", [("a.png", b"")])
    with pytest.raises(ValueError, match=r"1 pictures and 1 files of them \(b\.tar\)"):
        open_rows(tmp_path / "data")
    (tmp_path / "mixed").mkdir()
    write_shard("mixed/b.tar", [("a.png", b"")])
    (tmp_path / "mixed" / "c.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="Parquet files and WebDataset shards"):
        open_rows(tmp_path / "mixed")


def test_pictures_kept_beside_the_results_are_not_read_as_data(write_shard, make_pictures, tmp_path):
    write_shard("data/b.tar", [("a.png", b"")])
    make_pictures("labels.images/ab/x.png")
    assert wheres(open_rows(tmp_path / "data", skip=tmp_path / "data" / "labels.images")) == ["b.tar, a"]
