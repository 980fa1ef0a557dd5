"""On a local Ray, two workers write what one process writes. Starting Ray takes long, so all of this is slow."""

import os
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_without_ray_the_extra_is_named(start, make_pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"sightline\[cluster\]"):
        start(make_pictures("a.png"), workers=1)


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray.data", reason="the extra [cluster] is not installed") and sys.modules["ray"]
    # Workers find `fakes` there.
    environment = {"PYTHONPATH": str(Path(__file__).parent), "HF_HUB_OFFLINE": os.environ["HF_HUB_OFFLINE"]}
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
    yield ray
    ray.shutdown()


@pytest.fixture
def data(write_shard, picture_bytes):
    contents = [b"no picture" if n in (0, 20, 40) else picture_bytes(n % 7) for n in range(41)]
    write_shard("data/0.tar", [(f"{n:03d}.png", contents[n]) for n in range(30)])
    return write_shard("data/1.tar", [(f"{n:03d}.png", contents[n]) for n in range(30, 41)]).parent


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_workers_write_what_one_process_writes(cluster, start, data, tmp_path):
    whole = start(data, out=tmp_path / "whole" / "labels.jsonl", seed=3)
    spread = start(data, out=tmp_path / "out" / "labels.jsonl", seed=3, workers=2)
    assert (spread.labelled, spread.bad) == (whole.labelled, whole.bad) == (38, 3)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_workers_go_on_where_one_process_stopped(cluster, start, data, tmp_path):
    start(data, out=tmp_path / "whole" / "labels.jsonl")
    start(data, limit=13)
    run = start(data, workers=2)
    assert run.found == 13
    assert start(data, workers=2).found == 41
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_the_command_runs_a_model_on_ray(cluster, talkative, make_pictures, tmp_path):
    from sightline.cli import main

    folder = make_pictures("0.png", "1.png", "2.png")

    def label(name, *words):
        words = [*words, "--model", str(talkative), "--max-new-tokens", "8", "--dtype", "float32"]
        out = str(tmp_path / name / "labels.jsonl")
        assert main(["label", str(folder), "--prompt", "What?", "--out", out, *words]) == 0

    label("here")
    label("spread", "--ray", "--workers", "1")
    assert files(tmp_path / "spread") == files(tmp_path / "here") != {}
