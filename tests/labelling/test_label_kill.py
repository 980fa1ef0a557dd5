"""Killed by SIGKILL anywhere, a job goes on and ends with the bytes of one that was never touched."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROWS = 12


@pytest.fixture
def data(write_shard, picture_bytes):
    """Shards with pictures to be kept, some of them alike, and bad rows between, first and last."""
    bad = {0, 5, 6, ROWS - 1}
    contents = [b"no picture" if n in bad else picture_bytes(n % 7) for n in range(ROWS)]
    files = [(f"{n:03d}.png", content) for n, content in enumerate(contents)]
    write_shard("data/0.tar", files[:8])
    return write_shard("data/1.tar", files[8:]).parent


def command(data, out, **options):
    fakes = str(Path(__file__).with_name("fakes.py"))
    return [sys.executable, fakes, json.dumps({"data": str(data), "out": str(out / "labels.jsonl"), **options})]


def run(data, out, **options):
    """The number of changes to files, or None where the process was killed."""
    ended = subprocess.run(command(data, out, **options), capture_output=True, text=True, timeout=60, check=False)
    if "kill" in options and ended.returncode == -9:
        return None
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_a_beginning(out, whole):
    """Of the whole lines in both files together every row up to some row is there, once."""
    found = []
    for name in ("labels.jsonl", "labels.bad.jsonl"):
        text = (out / name).read_text() if (out / name).exists() else ""
        assert (whole / name).read_text().startswith(text)
        rows = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        found += [row.get("sightline", row)["row"] for row in rows]
    assert sorted(found) == list(range(len(found)))


def test_killed_again_and_again_a_job_ends_with_the_bytes_of_an_untouched_one(data, tmp_path):
    whole, out, draw = tmp_path / "whole", tmp_path / "out", random.Random(0)
    assert run(data, whole) > ROWS
    kills = 0
    while run(data, out, kill=[draw.randint(1, 9), draw.random()]) is None:
        assert_a_beginning(out, whole)
        kills += 1
        assert kills < 40
    assert kills > 2
    assert files(out) == files(whole)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_killed_at_any_change_of_a_file_a_job_ends_with_the_same_bytes(data, tmp_path, share):
    whole = tmp_path / "whole"
    for number in range(1, run(data, whole) + 1):
        out = tmp_path / f"{number:03d}"
        assert run(data, out, kill=[number, share]) is None
        assert_a_beginning(out, whole)
        run(data, out)
        assert files(out) == files(whole), number


@pytest.mark.slow
def test_killed_at_random_moments_a_job_ends_with_the_same_bytes(data, tmp_path):
    whole, draw = tmp_path / "whole", random.Random(1)
    run(data, whole)
    for attempt in range(8):
        out, kills = tmp_path / str(attempt), 0
        for _ in range(3):
            process = subprocess.Popen(command(data, out, model=["fake", 0.05]))
            while process.poll() is None and not (out / "labels.job.json").exists():
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.3))
            process.kill()
            kills += process.wait() == -9
            if (out / "labels.jsonl").exists():
                assert_a_beginning(out, whole)
        assert kills
        run(data, out)
        assert files(out) == files(whole)


def test_a_kill_while_it_restarts_does_not_stop_a_job(data, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(data, whole, prompt="Why?")
    run(data, out)
    # The first change is the new settings' way to the disk: what was there is dropped by then.
    assert run(data, out, prompt="Why?", restart=True, kill=[1, 0.0]) is None
    run(data, out, prompt="Why?", restart=True)
    assert files(out) == files(whole)
