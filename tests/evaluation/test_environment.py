"""Reports tell the memory that a run may use, and their files are written so that a power cut leaves them whole."""

import os

import pytest

from sightline.evaluation import environment as module
from sightline.evaluation.answer_file import write_json
from sightline.evaluation.environment import environment, machine_memory
from sightline.evaluation.page import Listing, render_report
from sightline.whole_file import LEFTOVER, write_whole


def test_memory_is_what_a_container_may_use(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(module, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(module, "_OWN_GROUPS", tmp_path / "none")
    whole = machine_memory()
    limit.write_text("max\n")
    assert machine_memory() == whole
    limit.write_text(f"{2**30}\n")
    assert machine_memory() == 2**30
    assert environment()["memory"] == "1 GiB"
    limit.write_text(f"{2 * whole}\n")
    assert machine_memory() == whole


@pytest.mark.parametrize(
    ("line", "folder", "file"),
    [
        ("0::/slurm/job_7/step_0", "slurm/job_7", "memory.max"),
        ("0::/slurm/job_7/step_0", "slurm/job_7/step_0", "memory.max"),
        ("9:memory:/slurm/job_7", "memory/slurm", "memory.limit_in_bytes"),
    ],
)
def test_memory_is_what_a_batch_job_may_use(tmp_path, monkeypatch, line, folder, file):
    (tmp_path / "own").write_text(f"3:cpu,cpuacct:/elsewhere\n{line}\n")
    monkeypatch.setattr(module, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(module, "_OWN_GROUPS", tmp_path / "own")
    whole = machine_memory()
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / file).write_text(f"{2**30}\n")
    assert machine_memory() == 2**30 < whole


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_whole(path, "new"),
        lambda path: write_json(path, {"a": 1}),
        lambda path: render_report(path, title="new", sections=[Listing("a", "b")]),
    ],
)
def test_a_file_is_on_the_disk_before_it_takes_the_old_ones_place(tmp_path, monkeypatch, write):
    path = tmp_path / "file"
    path.write_text("old")

    def power_cut(_):
        assert path.read_text() == "old"
        assert (tmp_path / f"{LEFTOVER}file").stat().st_size > 0
        raise OSError("power cut")

    sync = os.fsync
    monkeypatch.setattr(os, "fsync", power_cut)
    with pytest.raises(OSError, match="power cut"):
        write(path)
    assert path.read_text() == "old"
    monkeypatch.setattr(os, "fsync", sync)
    write(path)
    assert path.read_text() != "old"
    assert list(tmp_path.iterdir()) == [path]
