"""However many rows there are, all of them are checked before the first step, and memory stays as it was."""

import base64
import io
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from sightline.data.readers import Data, open_data
from sightline.data.sample import answers_of
from sightline.training import grouping, large_files, rehearsals, rows, sources
from sightline.training.batches import StageBatches
from sightline.training.build import build
from sightline.training.grouping import MOST
from sightline.training.large_files import check_rows
from sightline.training.loop import Stopped, train
from sightline.training.preflight import preflight
from sightline.training.row_checks import checked_row, limit_of
from sightline.training.rows import count_rows, measure_groups, sampled_files
from sightline.training.sources import FileGroups, WindowedGroups, open_sources
from sightline.training.stage import StageRun

from .test_loop import stop_after

ROWS = 500
PICTURES = 40


def written(folder: Path, count: int, change=None) -> Path:
    """Rows about pictures, three of a picture after each other; `change` may replace one."""
    folder.mkdir(exist_ok=True)
    for number in range(PICTURES):
        Image.new("RGB", (40, 30), (number, 100, 3 * number)).save(folder / f"{number}.png")
    with (folder / "rows.jsonl").open("w") as file:
        for n in range(count):
            asked = [{"type": "image"}, {"type": "text", "text": f"What is {n}?"}]
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": f"It is {n}."}]
            line = {"messages": turns, "images": [f"{n // 3 % PICTURES}.png"]}
            file.write(json.dumps(change(n, line) if change else line) + "\n")
    return folder / "rows.jsonl"


@pytest.fixture
def small(monkeypatch):
    """Limits that make a file of `ROWS` rows a large one."""
    monkeypatch.setattr(sources, "WHOLE", 100)
    monkeypatch.setattr(rows, "WHOLE", 100)
    monkeypatch.setattr(rows, "SAMPLE", 64)
    monkeypatch.setattr(grouping, "BLOCK_ROWS", 9)
    monkeypatch.setattr(grouping, "WINDOW_ROWS", 90)


@pytest.fixture
def read(monkeypatch):
    """The numbers of the rows that have been read."""
    seen = []
    get = Data.__getitem__
    monkeypatch.setattr(Data, "__getitem__", lambda self, number: seen.append(number) or get(self, number))
    return seen


@pytest.fixture(scope="module")
def processor(recipe):
    return build(recipe)[1]


def reading(make_recipe, path, **train):
    return make_recipe(
        data={"world": {"weight": 0}, "files": [{"path": str(path)}]},
        train=train,
        stages=[{"kind": "instruct", "steps": 3}],
    )


def test_an_epoch_of_a_large_file_has_each_row_once_and_every_epoch_its_own_order(small, tmp_path):
    groups = WindowedGroups(open_data(written(tmp_path, ROWS)), seed=0)
    epochs, number = [], 0
    for _ in range(3):
        seen: list[int] = []
        order = []
        while len(seen) < ROWS:
            order.append(groups.members(number))
            seen += order[-1]
            number += 1
        assert sorted(seen) == list(range(ROWS))
        epochs.append(order)
    assert epochs[0] != epochs[1] != epochs[2]
    assert len(epochs[0]) == len(epochs[1]) == len(epochs[2]) < ROWS / 2
    assert max(map(len, epochs[0])) <= MOST
    together = [members for members in epochs[0] if len(members) > 1]
    assert all(len({row // 3 % PICTURES for row in members}) == 1 for members in together)
    first = np.array([members[0] for members in epochs[0][:20]])
    assert first.max() - first.min() > ROWS / 2  # from all over the file


def test_what_stands_at_a_place_does_not_depend_on_what_was_asked_before(small, tmp_path):
    path = written(tmp_path, ROWS)
    forward = WindowedGroups(open_data(path), seed=3)
    expected = [forward.members(number) for number in range(900)]
    assert WindowedGroups(open_data(path), seed=3).members(777) == expected[777]
    other = pickle.loads(pickle.dumps(forward))
    assert [other.members(number) for number in reversed(range(900))] == expected[::-1]
    assert [WindowedGroups(open_data(path), seed=4).members(n) for n in range(20)] != expected[:20]
    assert forward.origin(5).endswith(", ".join(str(row + 1) for row in expected[5]))


def test_the_first_group_of_a_large_file_needs_one_window(small, tmp_path, read):
    groups = WindowedGroups(open_data(written(tmp_path, ROWS)), seed=0)
    assert read == []
    said = [answer for sample in groups.group(0) for answer in answers_of(sample)]
    assert said == [f"It is {row}." for row in groups.members(0)]
    assert len(read) <= 90 + MOST


def test_only_rows_that_may_share_a_picture_file_are_read_to_find_out(tmp_path, read):
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 20)).save(tmp_path / "pets" / name / f"{number}.png")
    folder = open_data(tmp_path / "pets")
    assert not folder.may_share_pictures
    assert len(FileGroups(folder, seed=0)) == 6
    assert read == []


def test_a_large_file_is_sampled_and_a_small_one_read_whole(small, make_recipe, tmp_path, processor, read, monkeypatch):
    recipe = reading(make_recipe, written(tmp_path, ROWS))
    data = StageBatches(recipe, recipe.stages[0], processor, 32)
    sizes = measure_groups(data, None, (heard := []).append)
    assert 64 <= sum(one.origin.count(",") for one in sizes) < 2 * 64 + MOST
    assert len(read) < 90 + 2 * 64 + MOST
    assert 64 <= sum(heard) < 2 * 64 + MOST
    assert sampled_files(data) == [data.sources[0].rows]
    monkeypatch.setattr(sources, "WHOLE", ROWS)
    monkeypatch.setattr(rows, "WHOLE", ROWS)
    data = StageBatches(recipe, recipe.stages[0], processor, 32)
    assert sampled_files(data) == []
    assert count_rows(data) == ROWS


def test_a_large_parquet_file_is_looked_at_in_stretches(small, make_recipe, tmp_path, processor, read, monkeypatch):
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    from pyarrow import parquet

    turns = json.dumps([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}])
    table = pa.Table.from_pylist([{"conversations": turns, "n": n} for n in range(ROWS)])
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=10)
    recipe = reading(make_recipe, tmp_path / "rows.parquet")
    sizes = measure_groups(StageBatches(recipe, recipe.stages[0], processor, 32))
    assert len(sizes) == 64
    assert (min(read), max(read)) == (0, ROWS - 1)
    groups = {number // 10 for number in read}
    assert len(groups) <= 2 * rows.STRETCHES < ROWS // 10
    copies = list((Path(os.environ["XDG_CACHE_HOME"]) / "sightline" / "arrow").rglob("*.arrow"))
    assert len(copies) == len(groups)


def bad(number, line):
    """Row `number` with an answer that says nothing."""

    def change(n, given):
        if n == number:
            given["messages"][1]["content"] = line
        return given

    return change


def reading_run(make_recipe, path, **train):
    recipe = reading(make_recipe, path, **train)
    model, processor = build(recipe)
    return StageRun(recipe, recipe.stages[0], model, processor, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_row_of_a_large_file_stops_the_run_before_its_first_step(small, make_recipe, tmp_path, workers):
    run = reading_run(make_recipe, written(tmp_path, ROWS, bad(ROWS - 1, " ")), workers=workers)
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line {ROWS}: an assistant message of it says nothing"):
        preflight(run)


def test_all_rows_of_a_large_file_are_read_before_the_first_step(small, make_recipe, tmp_path):
    run, heard = reading_run(make_recipe, written(tmp_path, ROWS)), []
    torch.manual_seed(5)
    report = preflight(run, heard.append)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert f"; large files have {ROWS} rows: all of them can teach" in report.rows
    assert count_rows(run.data) == ROWS + 64
    assert ROWS + 64 <= sum(heard) < ROWS + 2 * 64 + MOST


def test_large_files_may_be_checked_as_they_are_met_instead(small, make_recipe, tmp_path, read):
    run = reading_run(make_recipe, written(tmp_path, ROWS, bad(ROWS - 1, " ")), check_rows=False)
    assert f"; large files have {ROWS} rows: the others are looked at when a batch meets them" in preflight(run).rows
    assert len(read) < ROWS
    number = next(n for n in range(10**6) if ROWS - 1 in run.data.sources[0].members(n))
    run.stage = run.stage.model_copy(update={"steps": 10**6})
    run.step = number // run.settings.batch_size
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line {ROWS}: an assistant message of it says nothing"):
        next(run.steps())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda n, line: line | {"messages": line["messages"][: 2 - (n == 300)]},
            r"line 301: no token of it carries loss",
        ),
        (bad(300, "word " * 200), r"line 301: its \d+ tokens are more than the model's max_position_embeddings 90"),
        (lambda n, line: line | {"images": []} if n == 300 else line, r"line 301: 1 places for pictures, but 0"),
        (lambda n, line: {"words": 1} if n == 300 else line, r"line 301 has "),
        (lambda n, line: line | {"images": ["none.png"]} if n == 300 else line, r"line 301: there is no picture"),
    ],
)
@pytest.mark.parametrize("readers", [0, 2])
def test_a_large_file_is_refused_for_what_a_small_one_is(tmp_path, processor, monkeypatch, change, message, readers):
    monkeypatch.setattr(large_files, "STRETCH", 64)
    data = open_data(written(tmp_path, ROWS, change))
    with pytest.raises(ValueError, match=message) as caught:
        check_rows([data], processor, limit_of(None, 90), readers)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_read_to_its_end_is_not_read_again(tmp_path, processor, monkeypatch):
    data, read = open_data(written(tmp_path, 30)), []
    monkeypatch.setattr(large_files, "checked_row", lambda *given: read.append(given) or checked_row(*given))
    (longest,) = check_rows([data], processor, limit_of(90, None), readers=0)
    assert len(read) == 30
    assert check_rows([data], processor, None, readers=0) == [longest]
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 30: its \d+ tokens are more than train\.max_length 20"):
        check_rows([data], processor, limit_of(20, None), readers=0)
    assert len(read) == 30
    check_rows([data], pickle.loads(pickle.dumps(processor)), None, readers=0)
    assert len(read) == 60


def test_however_many_read_a_file_they_find_the_same_longest_rows(tmp_path, processor, monkeypatch):
    monkeypatch.setattr(large_files, "STRETCH", 7)
    monkeypatch.setattr(large_files, "KEPT", 5)
    heard, found = [], []
    for readers in (0, 2):
        data = open_data(written(tmp_path, ROWS, bad(300, "word " * 9)))
        found += check_rows([data], processor, None, readers, heard.append)
    assert found[0] == found[1]
    assert (len(found[0]), found[0][0].row, found[0][0].images) == (5, 300, 1)
    assert sum(heard) == 2 * ROWS


def test_a_reader_that_is_killed_ends_the_run_with_a_remedy(tmp_path, processor, monkeypatch):
    monkeypatch.setattr(large_files, "checked_row", lambda *given: os._exit(1))
    with pytest.raises(ValueError, match=r"rows\.jsonl: a process that reads its rows was killed .*train\.workers=0"):
        check_rows([open_data(written(tmp_path, 30))], processor, None, readers=2)


def test_the_longest_row_of_a_large_file_is_rehearsed_wherever_it_stands(small, make_recipe, tmp_path):
    path = written(tmp_path, ROWS, bad(300, "word " * 60))
    unseen = preflight(reading_run(make_recipe, path, check_rows=False))
    seen = preflight(reading_run(make_recipe, path))
    assert "line 301)" not in unseen.rows
    assert "line 301)" in seen.rows
    assert int(seen.worst.split(" tokens")[0].rpartition(" ")[2]) > int(
        unseen.worst.split(" tokens")[0].rpartition(" ")[2]
    )


def test_a_resumed_run_does_not_read_all_rows_again(small, make_recipe, tmp_path, monkeypatch):
    recipe, calls = reading(make_recipe, written(tmp_path, ROWS)), []
    monkeypatch.setattr(rehearsals, "check_rows", lambda *given: calls.append(given) or check_rows(*given))
    with monkeypatch.context() as patch:
        stop_after(patch, 1, signal.SIGTERM)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "run", console=Console(file=io.StringIO()))
    assert len(calls) == 1
    train(recipe, tmp_path / "run", resume=True, console=Console(file=io.StringIO()))
    assert len(calls) == 1
    # Those of a stage that was added have not been read yet.
    again = recipe.stages[-1].model_copy(update={"name": "again"})
    longer = recipe.model_copy(update={"stages": (*recipe.stages, again)})
    train(longer, tmp_path / "run", resume=True, console=Console(file=io.StringIO()))
    assert len(calls) == 2


def test_rows_of_parquet_are_read_by_several_processes(tmp_path, processor, monkeypatch):
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    from pyarrow import parquet

    monkeypatch.setattr(large_files, "STRETCH", 50)
    turns = [
        [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A" * (n == 222) or "B"}]
        for n in range(ROWS)
    ]
    parquet.write_table(pa.table({"conversations": [json.dumps(one) for one in turns]}), tmp_path / "rows.parquet")
    heard = []
    check_rows([open_data(tmp_path / "rows.parquet")], processor, None, 2, heard.append)
    assert sum(heard) == ROWS
    turns[222].pop()
    parquet.write_table(pa.table({"conversations": [json.dumps(one) for one in turns]}), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="row 223: no token of it carries loss"):
        check_rows([open_data(tmp_path / "rows.parquet")], processor, None, 2)


def test_a_large_file_is_dealt_out_in_windows_and_a_resumed_run_goes_on_in_them(small, make_recipe, tmp_path):
    recipe = reading(make_recipe, written(tmp_path, ROWS), batch_size=8)
    (source,), _ = open_sources(recipe, recipe.stages[0], 32)
    assert isinstance(source, WindowedGroups)
    model, processor = build(recipe)

    def run():
        return StageRun(recipe, recipe.stages[0], model, processor, torch.device("cpu"), torch.float32)

    data = run().data
    whole = [data[step] for step in range(40)]
    resumed = run().data[39]
    assert all(
        torch.equal(one[name], other[name]) for one, other in zip(whole[39], resumed, strict=True) for name in one
    )


RUN = """
import json, sys, time
import psutil
import torch
from sightline.training import build as building, rows, sources
from sightline.training.batches import batches_from
from sightline.training.preflight import preflight
from sightline.training.row_checks import limit_of
from sightline.training.recipe import Recipe
from sightline.training.stage import StageRun

def held(process):
    # What is this process's own: without pages of mapped files, which the system takes back when it needs them.
    return sum(one.private_dirty for one in process.memory_maps()) / 2**20

sources.WHOLE = rows.WHOLE = 5000
fields, first, last = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
recipe = Recipe.model_validate(fields)
model, processor = building.build(recipe)
started, said = time.monotonic(), {}
run = StageRun(recipe, recipe.stages[0], model, processor, torch.device("cpu"), torch.float32)
preflight(run)
steps = run.steps()
next(steps)
said["seconds"] = time.monotonic() - started
steps.close()
me = psutil.Process()
for number, _ in enumerate(batches_from(run.data, 1, 2, 256), 1):
    if number in (first, last):
        workers = sorted(me.children(), key=lambda one: one.pid)
        said[f"at {number}"] = [held(one) for one in (me, *workers)]
    if number == last:
        break
print(json.dumps(said))
"""


def memory(recipe, first, last):
    """Seconds to the first step, and MiB of the run's processes after `first` and `last` batches."""
    fields = recipe.model_dump_json(exclude_none=True)
    command = [sys.executable, "-c", RUN, fields, str(first), str(last)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return said["seconds"], said[f"at {first}"], said[f"at {last}"]


def check_flat(before, after, room):
    assert len(after) == len(before) == 3  # the trainer and two workers
    for one, other in zip(before, after, strict=True):
        assert other < one + room, f"{before} MiB became {after}"


def many(make_recipe, path):
    return make_recipe(
        data={"world": {"weight": 0}, "files": [{"path": str(path)}]},
        train={"workers": 2, "batch_size": 8},
        stages=[{"kind": "instruct", "steps": 10**6}],
    )


def test_memory_stays_flat_over_some_thousand_rows(make_recipe, tmp_path):
    recipe = many(make_recipe, written(tmp_path, 7_000))
    _, before, after = memory(recipe, 20, 300)
    check_flat(before, after, room=16)


def own_picture(number):
    """The bytes of a picture that no other row shows."""
    held = io.BytesIO()
    Image.new("RGB", (40, 30), (number % 256, number // 256 % 256, number // 65536)).save(held, "PNG")
    return held.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_200_000_rows_are_read_in_minutes_and_keep_memory_flat(make_recipe, tmp_path, container):
    pictures = map(own_picture, range(200_000))
    path = tmp_path / f"rows.{container}"
    if container == "parquet":
        pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
        from pyarrow import parquet

        turns = json.dumps([{"role": "user", "content": "<image>\nQ"}, {"role": "assistant", "content": "A"}])
        table = {"conversations": [turns] * 200_000, "image_bytes": [*pictures]}
        parquet.write_table(pa.table(table), path, row_group_size=1000)
    else:
        with path.open("w") as file:
            for n, picture in enumerate(pictures):
                asked = [{"type": "image"}, {"type": "text", "text": f"What is {n}?"}]
                turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": f"It is {n}."}]
                source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
                file.write(json.dumps({"messages": turns, "images": [source]}) + "\n")
    seconds, before, after = memory(many(make_recipe, path), 100, 1500)
    print(f"{container}: first step after {seconds:.1f} s; {before} MiB, then {after}")
    assert seconds < 300
    check_flat(before, after, room=24)
