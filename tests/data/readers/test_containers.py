"""Parquet, shards and the hub: minimind-v's, the_cauldron's and other columns, in order and by number alike."""

import json
import pickle
import sys

import pytest

from sightline.data.readers import open_data


def asked(question, answer, pictures=1):
    return [("user", "[picture]" * pictures + question), ("assistant", answer)]


def minimind(number, picture, question="<image>\nWhat?"):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": f"A{number}"}]
    return {"conversations": json.dumps(turns), "image_bytes": picture, "image_names": f"{number}.jpg"}


def test_minimind_vs_parquet_is_read_in_order_and_by_number(write_parquet, picture_bytes, said):
    path = write_parquet([minimind(n, picture_bytes(n)) for n in range(50)], row_group_size=7)
    rows = open_data(path)
    assert rows.format == "minimind-v's rows in Parquet"
    assert [said(row) for row in rows] == [asked("What?", f"A{n}") for n in range(50)]
    assert [row.images for row in rows] == [[picture_bytes(n)] for n in range(50)]
    assert rows[0].fields == {"image_names": "0.jpg"}
    for number in (0, 6, 7, 49, 13):
        assert said(rows[number]) == asked("What?", f"A{number}")
        assert rows[number].where == f"{path}, row {number + 1}"
    assert said(pickle.loads(pickle.dumps(rows))[-1]) == asked("What?", "A49")
    assert rows.where(3, 20) == f"{path}, rows 4, 21"
    assert rows.holds_pictures


def test_minimind_v_may_have_several_pictures_in_their_places(write_parquet, picture_bytes, said):
    two = minimind(1, [picture_bytes(1), picture_bytes(2)], "This <image> or <image>?")
    (row,) = open_data(write_parquet([two]), format="minimind-v")
    assert said(row)[0] == ("user", "This [picture] or [picture]?")
    assert row.images == [picture_bytes(1), picture_bytes(2)]
    wrong = minimind(1, [picture_bytes(1)], "This <image> or <image>?")
    with pytest.raises(ValueError, match=r"rows\.parquet, row 1: 2 places for pictures, but 1 pictures are given"):
        open_data(write_parquet([wrong]))[0]


def test_the_cauldrons_columns_become_turns_with_all_pictures_first(tmp_path, write_parquet, picture_bytes, said):
    def row(pictures, *pairs):
        texts = [{"user": user, "assistant": assistant, "source": "ours"} for user, assistant in pairs]
        return {"images": [{"bytes": picture_bytes(n), "path": None} for n in pictures], "texts": texts, "rating": 4}

    write_parquet([row([1, 2], ("Which?", "One."), ("Sure?", "Yes."))], name="set/train-00000-of-00002.parquet")
    write_parquet([row([3], ("What?", "Red.")), row([], ("1+1?", "2"))], name="set/train-00001-of-00002.parquet")
    rows = open_data(tmp_path / "set")
    assert rows.format == "the_cauldron's rows in Parquet"
    assert [said(one) for one in rows] == [
        [*asked("Which?", "One.", 2), ("user", "Sure?"), ("assistant", "Yes.")],
        asked("What?", "Red."),
        asked("1+1?", "2", 0),
    ]
    assert [said(rows[n]) for n in range(3)] == [said(one) for one in rows]
    assert rows[1].images == [picture_bytes(3)]
    assert rows[1].fields == {"rating": 4}
    assert rows.where(0, 2).endswith("set/train-00000-of-00002.parquet, row 1; train-00001-of-00002.parquet, row 2")


def test_the_chat_format_in_parquet_has_parts_or_text(write_parquet, picture_bytes, said):
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": "A."}]}]
    path = write_parquet([{"messages": turns, "images": [{"bytes": picture_bytes(1), "path": "x"}], "note": None}])
    (row,) = open_data(path)
    assert said(row) == asked("What?", "A.")
    assert row.fields == {}
    plain = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A."}]
    assert said(open_data(write_parquet([{"messages": plain, "images": [picture_bytes(1)]}]))[0]) == asked(
        "What?", "A."
    )


def test_a_column_of_classes_gives_their_names(write_parquet, picture_bytes, said):
    datasets = pytest.importorskip("datasets", reason="the extra [data] is not installed")
    from datasets import ClassLabel, Dataset, Features, Image

    assert datasets
    features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])})
    pictures = [{"bytes": picture_bytes(n), "path": None} for n in range(2)]
    table = Dataset.from_dict({"image": pictures, "label": [1, 0]}, features=features)
    path = write_parquet(table.data.table.replace_schema_metadata(features.arrow_schema.metadata))
    rows = open_data(path)
    expected = [asked("What is this?", "dog"), asked("What is this?", "cat")]
    assert [said(row) for row in rows] == expected
    assert [said(rows[n]) for n in range(2)] == expected


def test_files_of_different_columns_are_read_one_after_the_other(tmp_path, write_parquet, picture_bytes, said):
    write_parquet([minimind(1, picture_bytes(1))], name="set/a.parquet")
    write_parquet([{"question": "1+1?", "answer": 2}], name="set/b.parquet")
    rows = open_data(tmp_path / "set")
    expected = [asked("What?", "A1"), asked("1+1?", "2", 0)]
    assert [said(row) for row in rows] == [said(rows[n]) for n in range(2)] == expected


def test_a_row_group_is_copied_when_it_is_asked_for(tmp_path, write_parquet, picture_bytes, said):
    copies = tmp_path / "cache" / "sightline" / "arrow"
    for answer in ("A1", "A2"):
        path = write_parquet([minimind(answer[1:], picture_bytes(1))] * 70, row_group_size=9)
        assert len(list(open_data(path))) == 70
        assert copies.exists() == (answer == "A2")  # in order no copy is needed
        for _ in range(2):
            rows = open_data(path)
            assert said(rows[0]) == said(rows[69]) == asked("What?", answer)
            (of_file,) = copies.iterdir()
        first, last = sorted(of_file.iterdir())  # of eight row groups, those that were asked for
        assert (first.name, last.name) == ("0.arrow", "7.arrow")
        assert first.stat().st_size > last.stat().st_size > 7 * len(picture_bytes(1))


@pytest.mark.parametrize("left", [0, 100])
def test_a_copy_that_a_power_cut_has_torn_is_made_anew(tmp_path, write_parquet, picture_bytes, said, left):
    path = write_parquet([minimind(1, picture_bytes(1))])
    assert said(open_data(path)[0]) == asked("What?", "A1")
    (copy,) = (tmp_path / "cache" / "sightline" / "arrow").glob("*/0.arrow")
    copy.write_bytes(copy.read_bytes()[:left])
    assert said(open_data(path)[0]) == asked("What?", "A1")


def test_a_copy_that_cannot_be_made_is_one_line(tmp_path, write_parquet, picture_bytes, monkeypatch):
    rows = open_data(write_parquet([minimind(1, picture_bytes(1))]))
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"rows\.parquet cannot be copied to .*; XDG_CACHE_HOME names another place"):
        rows[0]


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"hub:a/b needs datasets: pip install 'sightline\[data\]'"):
        open_data("hub:a/b")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(ImportError, match=r"a\.parquet needs pyarrow: pip install 'sightline\[data\]'"):
        open_data(tmp_path / "a.parquet")


FILES = [
    ("000.jpg", b"first"),
    ("000.txt", "Eine Ente, 鸭子".encode()),
    ("001.png", b"second"),
    ("001.json", b'{"question": "Why?", "answer": "So."}'),
    ("002.json", b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}'),
    ("x" * 120 + "/003.webp", b"fourth"),
    ("x" * 120 + "/003.txt", b"A long name."),
]
SAID = [
    asked("Describe the picture.", "Eine Ente, 鸭子"),
    asked("Why?", "So."),
    asked("Hi", "Ho", 0),
    asked("Describe the picture.", "A long name."),
]


def test_shards_hold_captions_questions_and_rows_of_text(write_shard, said):
    path = write_shard("s/0.tar", FILES)
    write_shard("s/1.tar", FILES[:2])
    rows = open_data(path.parent)
    assert rows.format.endswith("asked: 'Describe the picture.', answers in 'txt', in WebDataset shards")
    assert [said(row) for row in rows] == [*SAID, SAID[0]]
    assert [said(rows[n]) for n in range(5)] == [*SAID, SAID[0]]
    assert [row.images for row in rows] == [[b"first"], [b"second"], [], [b"fourth"], [b"first"]]
    assert rows[4].where == f"{path.parent}/1.tar, 000"
    assert rows.where(1, 4) == f"{path.parent}/0.tar, 001; 1.tar, 000"
    assert said(pickle.loads(pickle.dumps(rows))[3]) == SAID[3]


def test_a_compressed_shard_is_read_in_order_only(write_shard, said):
    rows = open_data(write_shard("0.tar.gz", FILES))
    assert [said(row) for row in rows] == SAID
    with pytest.raises(ValueError, match=r"0\.tar\.gz is compressed, so that it can be read in order only: decompress"):
        rows[2]


def test_what_a_sample_is_called_is_known_without_reading_its_shard_again(write_shard):
    rows = open_data(write_shard("0.tar.gz", FILES))
    expected = [where for where, _ in rows.attempts()]
    (rows.folder / "0.tar.gz").unlink()
    assert [rows.where(number) for number in range(len(rows))] == expected
    assert expected[0].endswith("0.tar.gz, 000")


def test_a_sample_of_a_class_is_asked_what_it_shows(write_shard, said):
    files = [
        ("0.jpg", b"first"),
        ("0.cls", b"7\n"),
        ("1.jpg", b"second"),
        ("1.cls", "grey heron, 鹭".encode()),
        ("2.jpg", b"third"),
        ("2.cls", b"1"),
        ("2.json", b'{"label": "duck"}'),
        ("3.jpg", b"fourth"),
        ("3.cls", b"\xff"),
    ]
    rows = open_data(write_shard("0.tar", files))
    assert [said(rows[n]) for n in range(3)] == [
        asked("What is this?", name) for name in ("7", "grey heron, 鹭", "duck")
    ]
    with pytest.raises(ValueError, match=r"0\.tar, 3: its \.json, \.txt or \.cls cannot be read"):
        rows[3]


def test_a_picture_of_a_longer_suffix_is_not_left_out_silently(write_shard):
    rows = open_data(write_shard("0.tar", [("0.image.jpg", b"first"), ("0.json", b'{"question": "Q", "answer": "A"}')]))
    with pytest.raises(ValueError, match=r"its picture is called \.image\.jpg"):
        rows[0]


def test_columns_as_older_datasets_describe_them_are_read(write_parquet, picture_bytes, said):
    import pyarrow as pa

    features = {
        "caption": {"dtype": "string", "_type": "Value"},
        "boxes": [{"x": {"dtype": "int64", "_type": "Value"}}],
    }
    about = json.dumps({"info": {"features": features}})
    row = {"image": {"bytes": picture_bytes(0), "path": None}, "caption": "A duck.", "boxes": [{"x": 1}]}
    table = pa.Table.from_pylist([row]).replace_schema_metadata({"huggingface": about})
    assert said(open_data(write_parquet(table))[0]) == asked("Describe the picture.", "A duck.")


@pytest.fixture
def hub(monkeypatch, picture_bytes):
    """A hub with one dataset; the list of what was asked of it."""
    datasets = pytest.importorskip("datasets", reason="the extra [data] is not installed")
    texts = [[{"user": f"Q{n}", "assistant": f"A{n}"}] for n in range(4)]
    pictures = [[{"bytes": picture_bytes(n), "path": None}] for n in range(4)]
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "texts": datasets.List({"user": datasets.Value("string"), "assistant": datasets.Value("string")}),
        }
    )
    held = datasets.Dataset.from_dict({"images": pictures, "texts": texts}, features=features)
    calls = []

    def load(name, config, split, streaming):
        calls.append((name, config, split, streaming))
        if name == "no/such":
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'no/such' doesn't exist\non the Hub")
        if split not in ("train", "test"):
            raise ValueError(f"Unknown split {split!r}")
        return held.to_iterable_dataset() if streaming else held

    monkeypatch.setattr(datasets, "load_dataset", load)
    return calls


def test_a_dataset_of_the_hub_is_kept_or_streamed(hub, said, picture_bytes):
    kept = open_data("hub:HuggingFaceM4/the_cauldron/ai2d")
    streamed = open_data("hub:HuggingFaceM4/the_cauldron/ai2d@test", streaming=True)
    assert hub == [
        ("HuggingFaceM4/the_cauldron", "ai2d", "train", False),
        ("HuggingFaceM4/the_cauldron", "ai2d", "test", True),
    ]
    expected = [asked(f"Q{n}", f"A{n}") for n in range(4)]
    assert [said(row) for row in kept] == [said(row) for row in streamed] == expected
    assert [said(kept[n]) for n in range(4)] == expected
    assert kept[2].images == [picture_bytes(2)]
    assert kept[2].where == "hub:HuggingFaceM4/the_cauldron/ai2d, row 3"
    assert kept.name == "ai2d"
    first = open_data("hub:HuggingFaceM4/the_cauldron/ai2d@test", streaming=True, limit=2)
    assert [said(row) for row in first] == expected[:2]
    for ask in (lambda: streamed[1], lambda: len(streamed)):
        with pytest.raises(ValueError, match=r"is streamed, .*: leave streaming out, and it is downloaded once"):
            ask()


def test_what_the_hub_does_not_have_is_one_line(hub):
    with pytest.raises(FileNotFoundError, match="there is no dataset hub:no/such here or on the hub") as caught:
        open_data("hub:no/such")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="hub:a/b@nosplit cannot be loaded: Unknown split"):
        open_data("hub:a/b@nosplit")
    with pytest.raises(ValueError, match=r"is given as hub:ORGANISATION/NAME"):
        open_data("hub:justaname")


def test_readers_need_neither_torch_nor_transformers_nor_datasets():
    import subprocess

    modules = "'torch', 'transformers', 'datasets', 'pyarrow'"
    code = f"import sys, sightline.data.check, sightline.data.page; assert not {{{modules}}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
