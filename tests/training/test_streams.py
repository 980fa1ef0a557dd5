"""What can be read in its order only is trained on: every row once an epoch, resumed as though there were no break."""

import io
import json
import pickle
import tarfile

import pytest
import torch
from PIL import Image
from rich.console import Console

from sightline.data.readers import Data, open_data
from sightline.data.sample import answers_of
from sightline.training import rows, streams
from sightline.training.batches import StageBatches, batches_from
from sightline.training.build import build
from sightline.training.loop import train
from sightline.training.preflight import preflight
from sightline.training.rows import count_rows, measure_groups
from sightline.training.stage import StageRun
from sightline.training.streams import StreamGroups

COUNT = 10


@pytest.fixture
def shard(tmp_path):
    """Compressed samples of a picture and its question; `bad` is damaged, the answer of `blank` says nothing."""

    def make(count=COUNT, bad=None, blank=None):
        path = tmp_path / "rows.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for number in range(count):
                picture = io.BytesIO()
                Image.new("RGB", (20, 20), (number, 0, 0)).save(picture, "png")
                answer = " " if number == blank else f"A{number}"
                words = json.dumps({"question": f"Q{number}", "answer": answer}).encode()
                files = (("png", picture.getvalue()), ("json", b"{" if number == bad else words))
                for suffix, content in files:
                    entry = tarfile.TarInfo(f"{number:03}.{suffix}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        return path

    return make


@pytest.fixture
def blocks(monkeypatch):
    monkeypatch.setattr(streams, "BLOCK_ROWS", 4)
    monkeypatch.setattr(rows, "BLOCK_ROWS", 4)


def said(groups, number):
    ((answer,),) = (answers_of(sample) for sample in groups.group(number))
    return answer


@pytest.mark.parametrize("count", [1, 3, 4, 8, 10])
def test_each_row_comes_once_an_epoch_shuffled_within_its_block(blocks, shard, count):
    groups = StreamGroups(open_data(shard(count)), seed=0)
    epochs = [[said(groups, epoch * count + place) for place in range(count)] for epoch in range(3)]
    everything = [f"A{number}" for number in range(count)]
    for epoch in epochs:
        for start in range(0, count, 4):
            assert sorted(epoch[start : start + 4]) == sorted(everything[start : start + 4])
    if count == 10:
        assert epochs[0] != epochs[1] != epochs[2]


def test_a_place_holds_the_same_whenever_and_by_whomever_it_is_asked_for(blocks, shard):
    data = open_data(shard())
    groups = StreamGroups(data, seed=5)
    expected = [said(groups, number) for number in range(3 * COUNT)]
    for number in (27, 3, 12, 0, 29):
        assert said(StreamGroups(data, seed=5), number) == expected[number]
    sent = pickle.loads(pickle.dumps(groups))
    assert [said(sent, number) for number in range(3 * COUNT)] == expected
    assert [said(StreamGroups(data, seed=6), number) for number in range(3 * COUNT)] != expected
    number = expected.index("A7")
    assert "007" in groups.origin(number)


def test_rows_are_read_once_an_epoch_while_it_goes_on(blocks, shard, monkeypatch):
    begun = []
    attempts = Data.attempts
    monkeypatch.setattr(Data, "attempts", lambda self: begun.append(1) or attempts(self))
    groups = StreamGroups(open_data(shard()), seed=0)
    for number in range(3 * COUNT):
        groups.group(number)
    assert len(begun) <= 4


def reading(make_recipe, path, **file):
    data = {"world": {"weight": 0}, "files": [{"path": str(path), **file}]}
    return make_recipe(data=data, train={"batch_size": 4}, stages=[{"kind": "instruct", "steps": 2}])


@pytest.mark.parametrize("workers", [0, 2])
def test_compressed_shards_are_trained_on_as_they_are(blocks, make_recipe, shard, workers):
    recipe = reading(make_recipe, shard())
    model, processor = build(recipe)
    data = StageBatches(recipe, recipe.stages[0], processor, 32)
    assert {one.images for one in measure_groups(data)} == {1}
    assert count_rows(data) == 0
    batches = batches_from(data, 0, workers)
    whole = [next(batches) for _ in range(5)]
    batches.close()
    answers = [processor.decode(row[row >= 0].tolist()) for batch in whole for row in batch[0]["labels"]]
    assert sorted(answers[:COUNT]) == sorted(f"A{number}<|im_end|>" for number in range(COUNT))
    resumed = next(batches_from(data, 4, workers))
    assert all(torch.equal(resumed[0][name], whole[4][0][name]) for name in resumed[0])
    assert model(**{name: whole[0][0][name] for name in ("input_ids", "pixel_values")}).logits.isfinite().all()


def test_a_stream_that_is_looked_ahead_in_is_read_on(blocks, make_recipe, shard, monkeypatch):
    """A batch may begin in one block and end in the next, and each of its rows be asked first whether it is barred."""
    recipe = reading(lambda **sections: make_recipe(**{**sections, "train": {"batch_size": 3}}), shard())
    _, processor = build(recipe)
    data = StageBatches(recipe, recipe.stages[0], processor, 32)
    (source,) = data.sources
    source.barred = frozenset([b"nothing that is there"])
    begun, attempts = [], Data.attempts
    monkeypatch.setattr(Data, "attempts", lambda self: begun.append(1) or attempts(self))
    for step in range(COUNT // 3):
        data[step]
    assert len(begun) <= 2


def test_a_bad_row_of_a_shard_is_named(blocks, make_recipe, shard):
    recipe = reading(make_recipe, shard(bad=6))
    _, processor = build(recipe)
    data = StageBatches(recipe, recipe.stages[0], processor, 32)
    with pytest.raises(ValueError, match=r"rows\.tar\.gz, 006: its \.json, \.txt or \.cls cannot be read") as raised:
        [data[step] for step in range(3)]
    # A shard that was mended is another, with which no run goes on.
    assert str(raised.value).endswith("; mend it, or take the row out, and begin anew")


def test_a_lost_connection_is_nothing_to_be_mended_in_a_row(blocks, make_recipe, shard, monkeypatch):
    recipe = reading(make_recipe, shard())
    data = StageBatches(recipe, recipe.stages[0], build(recipe)[1], 32)
    begun = []

    def lost(self, number):
        begun.append(number)
        raise ConnectionError("Server Disconnected")

    monkeypatch.setattr(StreamGroups, "group", lost)
    with pytest.raises(OSError, match=r"^Server Disconnected; go on with --resume once there is a connection again$"):
        data[1]
    assert len(begun) == 1


def test_a_row_of_a_shard_that_cannot_teach_is_refused_in_its_batch(blocks, make_recipe, shard):
    recipe = reading(make_recipe, shard(blank=6))
    model, processor = build(recipe)
    run = StageRun(recipe, recipe.stages[0], model, processor, torch.device("cpu"), torch.float32)
    preflight(run)  # which reads the first block
    with pytest.raises(ValueError, match=r"rows\.tar\.gz, 006: an assistant message of it says nothing; give it text"):
        list(run.steps())


@pytest.fixture
def hub(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra [data] is not installed")
    table = {"question": [f"Q{n}" for n in range(COUNT)], "answer": [f"A{n}" for n in range(COUNT)]}
    held = datasets.Dataset.from_dict(table)
    monkeypatch.setattr(datasets, "load_dataset", lambda *name, streaming, **more: held.to_iterable_dataset())
    return "hub:someone/rows"


def test_a_dataset_of_the_hub_is_trained_on_as_it_streams(blocks, make_recipe, hub):
    recipe = reading(make_recipe, hub, streaming=True, held_out="auto")
    _, processor = build(recipe)
    data = StageBatches(recipe, recipe.stages[0], processor, 32)
    answers = [processor.decode(row[row >= 0].tolist()) for step in range(3) for row in data[step][0]["labels"]]
    assert sorted(answers[:COUNT]) == sorted(f"A{number}<|im_end|>" for number in range(COUNT))
    assert len(measure_groups(data)) == 4
    shared = reading(make_recipe, hub, streaming=True, held_out=0.5)
    with pytest.raises(ValueError, match="of hub:someone/rows, a stream, no share can be held out: give validation"):
        StageBatches(shared, recipe.stages[0], processor, 32)


def test_a_run_goes_through_from_a_stream_to_its_report(blocks, make_recipe, hub, tmp_path):
    recipe = reading(make_recipe, hub, streaming=True, held_out="auto")
    console = Console(file=io.StringIO(), width=200)
    folder = train(recipe, tmp_path / "run", console=console)
    assert (folder / "config.json").is_file()
    assert "a stream of rows" in console.file.getvalue()
    longer = recipe.model_copy(update={"stages": (recipe.stages[0].model_copy(update={"steps": 4}),)})
    train(longer, tmp_path / "whole", console=console)
    train(longer, tmp_path / "run", resume=True, console=console)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "run")]
    one, other = ([json.loads(line)["loss"] for line in log] for log in logs)
    assert one == other
