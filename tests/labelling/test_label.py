"""What a job leaves behind: every row once and in order, as training reads it; bad rows beside; refusals of changes."""

import base64
import hashlib
import os
from pathlib import Path

import pytest
from fakes import FakeEngine, lines

from sightline.data.readers import open_data
from sightline.data.sample import answers_of
from sightline.engine.request import SamplingParams
from sightline.labelling.label import Job, records
from sightline.labelling.output import Outcome, Places
from sightline.labelling.question import Asking
from sightline.labelling.rows import open_rows

NAMES = [f"{n:02d}.png" for n in range(9)]


def test_a_folder_becomes_rows_that_training_reads(start, make_pictures):
    folder = make_pictures("a/x.png", "b.png")
    run = start(folder)
    assert run.answers == ["What? [(0, 0, 200)] None", "What? [(1, 0, 200)] None"]
    assert run.rows[0] == {
        "messages": [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": run.answers[0]}]},
        ],
        "images": ["../data/a/x.png"],
        "sightline": {
            "row": 0,
            "source": "a/x.png",
            "sha256": [hashlib.sha256((folder / "a/x.png").read_bytes()).hexdigest()],
            "finish_reason": "stop",
        },
    }
    chat = open_data(run.places.out)
    assert [Path(*row.images).resolve() for row in chat] == [folder / "a/x.png", folder / "b.png"]
    assert [row.messages for row in chat] == [row["messages"] for row in run.rows]
    assert not run.places.bad.exists()
    assert not run.places.pictures.exists()


def test_training_makes_samples_of_the_results(start, make_pictures):
    from sightline.training.sources import FileGroups

    run = start(make_pictures("a.png", "b.png"))
    groups = FileGroups(open_data(run.places.out), seed=0)
    samples = [sample for index in range(len(groups)) for sample in groups.samples(index)]
    assert [answers_of(sample) for sample in samples] == [[answer] for answer in run.answers]
    assert [Path(*sample["images"]).is_file() for sample in samples] == [True, True]


def test_pictures_find_their_way_where_a_folder_is_a_link(start, make_pictures, tmp_path):
    folder = make_pictures("x.png")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "data-link").symlink_to(folder)
    run = start(tmp_path / "data-link", out=tmp_path / "link" / "labels.jsonl")
    assert Path(open_data(run.places.out)[0].images[0]).samefile(folder / "x.png")


def test_pictures_of_a_container_get_files_beside_the_results(start, write_shard, picture_bytes):
    # The same picture twice, under the same name.
    one, other = picture_bytes(1), picture_bytes(2)
    write_shard("data/0.tar", [("x.png", one), ("x.txt", b"A caption."), ("y.png", one)])
    folder = write_shard("data/1.tar", [("x.png", other)]).parent
    run = start(folder)
    chat = open_data(run.places.out)
    assert [Path(row.images[0]).read_bytes() for row in chat] == [one, one, other]
    assert len([path for path in run.places.pictures.rglob("*") if path.is_file()]) == 2
    assert run.rows[0]["images"][0].startswith("labels.images/")
    assert run.rows[0]["images"][0].endswith(".png")
    assert run.rows[0]["txt"] == "A caption."
    assert [row["sightline"]["source"] for row in run.rows] == ["0.tar, x", "0.tar, y", "1.tar, x"]


def test_a_parquet_of_datasets_is_labelled(start, tmp_path, picture_bytes):
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    from pyarrow import parquet

    images = [{"bytes": picture_bytes(n), "path": "same.png"} for n in range(3)]
    table = pa.table({"image": images, "question": ["Who?", None, "Why?"], "id": [5, 6, 7]})
    parquet.write_table(table, tmp_path / "a.parquet")
    run = start(tmp_path / "a.parquet")
    assert run.answers == ["Who? [(0, 0, 200)] None", "What? [(1, 0, 200)] None", "Why? [(2, 0, 200)] None"]
    assert [row["id"] for row in run.rows] == [5, 6, 7]
    assert [Path(row.images[0]).read_bytes() for row in open_data(run.places.out)] == [
        image["bytes"] for image in images
    ]
    assert start(tmp_path / "a.parquet").found == 3


def test_a_conversation_keeps_its_turns_and_fields(start, make_pictures, write_lines, picture_bytes):
    make_pictures("x.png")
    uri = "data:image/png;base64," + base64.b64encode(picture_bytes(5)).decode()
    said = [("user", "Hi."), ("assistant", "Ho."), ("user", "?")]
    turns = [{"role": role, "content": words} for role, words in said]
    path = write_lines({"messages": turns, "images": ["data/x.png", uri], "kind": "pets"}, {"messages": turns[:1]})
    run = start(path)
    assert run.answers == ["? [(0, 0, 200), (5, 0, 200)] None", "Hi. [] None"]
    assert [message["role"] for message in run.rows[0]["messages"]] == ["user", "assistant", "user", "assistant"]
    assert run.rows[0]["kind"] == "pets"
    assert run.rows[0]["images"] == ["../data/x.png", uri]
    assert [len(row.images) for row in open_data(run.places.out)] == [2, 0]


def test_results_can_be_asked_again(start, make_pictures, tmp_path):
    first = start(make_pictures(*NAMES[:2]))
    again = start(first.places.out, prompt=None, out=tmp_path / "elsewhere" / "again.jsonl")
    assert again.answers == first.answers
    assert [row["sightline"]["source"] for row in again.rows] == ["labels.jsonl, line 1", "labels.jsonl, line 2"]


def test_bad_rows_are_listed_with_their_reason(start, make_pictures, write_lines, tmp_path):
    make_pictures(*NAMES)
    (tmp_path / "data" / "01.png").write_bytes(b"no picture")
    (tmp_path / "data" / "02.png").write_bytes((tmp_path / "data" / "03.png").read_bytes()[:50])
    rows = [{"image": f"data/{name}"} for name in NAMES]
    rows[4] = "{broken"
    rows[5]["image"] = "gone.png"
    rows[6]["prompt"] = "Say nothing."
    rows[7]["prompt"] = "Go on."
    run = start(write_lines(*rows))
    assert [row["sightline"]["row"] for row in run.rows] == [0, 3, 7, 8]
    assert [(row["row"], row["source"]) for row in run.bad_rows] == [
        (n, f"rows.jsonl, line {n + 1}") for n in (1, 2, 4, 5, 6)
    ]
    for row, reason in zip(run.bad_rows, ["not an image", "cut short", "JSON", "no picture", "empty"], strict=True):
        assert reason in row["error"]
        assert "\n" not in row["error"]
        assert "rows.jsonl" not in row["error"]  # which `source` says
    assert (run.labelled, run.bad, run.cut) == (4, 5, 1)
    assert len(open_data(run.places.out)) == 4


def test_a_name_that_json_cannot_carry_is_a_bad_row(start, make_pictures):
    folder = make_pictures("a.png")
    try:
        (folder / os.fsdecode(b"b\xff.png")).write_bytes((folder / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    run = start(folder)
    assert run.labelled == 1
    assert "not UTF-8" in run.bad_rows[0]["error"]
    assert start(folder).found == 2


def test_many_rows_are_under_way_while_they_are_written_in_order(make_pictures, tmp_path):
    rows, engine = open_rows(make_pictures(*NAMES)), FakeEngine()
    job = Job(tmp_path, Asking("What?"), SamplingParams(), tmp_path / "images")
    found = records(rows, job, engine, 2, 9, ahead=3)
    assert next(found).row == 2
    assert engine.under_way == 3
    assert [record.row for record in found] == [3, 4, 5, 6, 7, 8]
    assert engine.most == 4


class Failing(FakeEngine):
    """Its steps fail while `poison` is among those that are under way; once `is_dead` it takes nothing more."""

    poison, is_dead = "Fail.", False

    def submit(self, messages, params):
        if self.is_dead:
            raise RuntimeError("the engine is closed: make another one")
        handle = super().submit(messages, params)
        failed = (self.under_way > 1 and len(self.asked) < 4) or handle.text.startswith(self.poison)
        handle.result = handle.result if not failed else self.fail
        return handle

    def fail(self):
        self.under_way -= 1
        raise RuntimeError("a step\nfailed")


def under_failure(make_pictures, write_lines, tmp_path, engine):
    make_pictures(*NAMES[:5])
    asked = [{"image": f"data/{name}", "prompt": "Fail." if n == 1 else "What?"} for n, name in enumerate(NAMES[:5])]
    rows = open_rows(write_lines(*asked))
    return records(rows, Job(tmp_path, Asking(), SamplingParams(), tmp_path / "images"), engine, 0, 5, ahead=2)


def test_a_step_that_fails_costs_the_row_that_is_to_blame_and_no_other(make_pictures, write_lines, tmp_path):
    found = list(under_failure(make_pictures, write_lines, tmp_path, Failing()))
    assert [record.good for record in found] == [True, False, True, True, True]
    assert found[1].line["error"] == "the engine fails on it: a step failed"


def test_an_engine_that_is_closed_ends_the_job(make_pictures, write_lines, tmp_path):
    engine = Failing()
    found = under_failure(make_pictures, write_lines, tmp_path, engine)
    next(found)
    engine.is_dead = True
    with pytest.raises(RuntimeError, match="the engine is closed"):
        list(found)


def test_each_row_has_its_own_seed_in_every_run(start, make_pictures, tmp_path):
    folder = make_pictures(*NAMES)
    whole = start(folder, seed=1)
    assert len({answer.rpartition(" ")[2] for answer in whole.answers}) == len(NAMES)
    start(folder, seed=1, limit=4, out=tmp_path / "parts.jsonl")
    assert start(folder, seed=1, out=tmp_path / "parts.jsonl").answers == whole.answers
    assert start(folder, seed=2, out=tmp_path / "other.jsonl").answers != whole.answers


def test_a_limit_is_for_this_run_alone(start, make_pictures):
    folder = make_pictures(*NAMES)
    assert start(folder, limit=4).labelled == 4
    assert start(folder, limit=2).labelled == 4
    run = start(folder)
    assert run.found == 4
    assert [row["sightline"]["row"] for row in run.rows] == list(range(9))


def test_a_finished_job_changes_nothing(start, make_pictures):
    folder = make_pictures(*NAMES)
    run = start(folder)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.places.out.parent.iterdir()}
    again = start(folder)
    assert again.found == 9
    assert again.model.last_engine.asked == []
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.places.out.parent.iterdir()} == before


@pytest.mark.parametrize("change", [{"prompt": "Why?"}, {"model": ["another"]}])
def test_other_settings_are_refused_until_told_to_restart(start, make_pictures, change):
    folder = make_pictures(*NAMES)
    before = start(folder, limit=3).rows
    with pytest.raises(FileExistsError, match=r"give another --out, or add --restart") as raised:
        start(folder, **change)
    assert ("prompt='What?', not 'Why?'" if "prompt" in change else "weights='fake'") in str(raised.value)
    assert start(folder, limit=3).rows == before
    assert start(folder, restart=True, **change).found == 0


def swap(folder):
    """Two pictures of one size change places."""
    one, other = folder / NAMES[0], folder / NAMES[8]
    held = one.read_bytes()
    assert len(held) == len(other.read_bytes())
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)


def insert(folder):
    (folder / "00-new.png").write_bytes((folder / NAMES[0]).read_bytes())


def remove(folder):
    (folder / NAMES[1]).unlink()


def move(folder):
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize("change", [swap, insert, remove])
def test_other_data_is_refused(start, make_pictures, change):
    folder = make_pictures(*NAMES)
    start(folder, limit=3)
    change(folder)
    with pytest.raises(FileExistsError, match="the data was changed"):
        start(folder)
    assert start(folder, restart=True).found == 0


def test_pictures_that_moved_are_refused_for_the_results_name_their_places(start, make_pictures):
    folder = make_pictures(*NAMES)
    start(folder, limit=3)
    move(folder)
    with pytest.raises(FileExistsError, match=r"00\.png is not what"):
        start(folder.with_name("elsewhere"))


def test_data_that_only_grew_or_was_copied_goes_on(start, make_pictures, tmp_path):
    folder = make_pictures(*NAMES[:5])
    start(folder)
    for name in NAMES[:5]:
        os.utime(folder / name, (0, 0))
    make_pictures(*NAMES)
    run = start(folder)
    assert (run.found, run.labelled) == (5, 9)


def test_fewer_rows_than_answers_are_refused(start, write_lines, make_pictures):
    make_pictures("x.png")
    path = write_lines(*[{"image": "data/x.png"}] * 3)
    start(path)
    write_lines({"image": "data/x.png"})
    with pytest.raises(FileExistsError, match="1 rows are fewer than"):
        start(path)


def test_a_file_that_no_job_wrote_is_never_touched(start, make_pictures, tmp_path):
    folder, out = make_pictures("x.png"), tmp_path / "mine.jsonl"
    for path in (out, tmp_path / "mine.bad.jsonl"):
        path.write_text("precious")
        for restart in (False, True):
            with pytest.raises(FileExistsError, match="no job of this command wrote it"):
                start(folder, out=out, restart=restart)
        assert path.read_text() == "precious"
        path.unlink()
    out.touch()
    assert start(folder, out=out).labelled == 1


def test_restart_leaves_what_a_job_has_not_written(start, write_shard, picture_bytes, tmp_path):
    path = write_shard("0.tar", [("x.png", picture_bytes(1))])
    places = start(path).places
    kept = places.pictures / "notes.txt"
    kept.write_text("mine")
    (ours,) = places.pictures.glob("*/*")
    (places.pictures / "ab" / "of mine").mkdir(parents=True)
    (places.pictures / "ab" / "mine.png").write_bytes(b"")
    (places.pictures / "ab" / f"{'ab' * 32}.png").write_bytes(b"")  # as a job calls a picture
    start(path, restart=True, prompt="Why?")
    assert kept.read_text() == "mine"
    assert {*places.pictures.glob("*/*")} == {
        ours,
        places.pictures / "ab" / "of mine",
        places.pictures / "ab" / "mine.png",
    }


@pytest.mark.parametrize("content", ["precious", "[1]", "a: b", '"text"'])
def test_settings_that_no_job_wrote_are_never_touched(start, make_pictures, tmp_path, content):
    (tmp_path / "mine.job.json").write_text(content)
    for restart in (False, True):
        with pytest.raises(FileExistsError, match=r"mine\.job\.json is there already, and no job"):
            start(make_pictures("x.png"), out=tmp_path / "mine.jsonl", restart=restart)
    assert (tmp_path / "mine.job.json").read_text() == content


@pytest.mark.parametrize("torn", [b"", b"{", b'{\n "pro', bytes(300)])
def test_settings_that_a_power_cut_has_torn_are_written_anew(start, make_pictures, tmp_path, torn):
    (tmp_path / "mine.job.json").write_bytes(torn)
    assert start(make_pictures("x.png"), out=tmp_path / "mine.jsonl").labelled == 1


def test_results_that_were_edited_are_refused(start, make_pictures):
    folder = make_pictures(*NAMES)
    out = start(folder).places.out
    whole = out.read_text().splitlines(keepends=True)
    for changed in (whole[:3] + whole[4:], [*whole, whole[3]], [whole[1], whole[0], *whole[2:]]):
        out.write_text("".join(changed))
        with pytest.raises(ValueError, match="were changed: row"):
            start(folder)
        assert out.read_text() == "".join(changed)
    for line in ("not JSON\n", "{}\n", "[1]\n", '{"sightline": 3}\n'):
        out.write_text(whole[0] + line)
        with pytest.raises(ValueError, match=r"line 2 is not as it was written"):
            start(folder)
    answer = whole[0].replace("What?", "Why?", 1)
    out.write_text("".join([answer, *whole[1:]]))
    with pytest.raises(FileExistsError, match=r"00\.png is not what"):
        start(folder)


def test_two_jobs_do_not_write_one_file(start, make_pictures):
    pytest.importorskip("fcntl", reason="this system has no such locks")
    folder = make_pictures(*NAMES)
    places = start(folder, limit=1).places
    with Outcome(places), pytest.raises(FileExistsError, match="another process is writing"):
        start(folder)
    assert start(folder).labelled == 9


def test_results_have_a_name_that_says_what_they_are(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.jsonl"):
        Places(tmp_path / "labels.json")
    places = Places(tmp_path / "a.b.jsonl")
    assert places.bad.name == "a.b.bad.jsonl"
    assert places.pictures.name == "a.b.images"


def test_a_full_disk_loses_no_row(start, make_pictures, monkeypatch):
    folder, real, left = make_pictures(*NAMES), os.write, [3]

    def write(file, data):
        left[0] -= 1
        if left[0] == 0:
            real(file, data[:10])
            raise OSError(28, "No space left on device")
        return real(file, data[:100])  # and never all at once

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space left"):
        start(folder)
    left[0] = 10**6
    assert [row["sightline"]["row"] for row in start(folder).rows] == list(range(9))


def test_a_torn_last_line_is_asked_again(start, make_pictures):
    folder = make_pictures(*NAMES)
    run = start(folder)
    whole = run.places.out.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for end in (len(whole) - 1, last + 1, last):
        run.places.out.write_bytes(whole[:end])
        assert start(folder).found == 8
        assert run.places.out.read_bytes() == whole
    run.places.out.write_bytes(whole[:3])  # of the first line
    assert start(folder).found == 0
    assert run.places.out.read_bytes() == whole
    assert lines(run.places.out)
