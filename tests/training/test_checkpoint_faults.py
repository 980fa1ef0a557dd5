"""Whatever fails while a checkpoint is written, there is a whole one to go on from: kills, full disks, power cuts.

The faults are injected below the code, at the system calls, so that every one of them is a place to fail at.
"""

import errno
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.training.checkpoint import checkpoints, load_state, newest_good, save_checkpoint


def write_model(folder):
    (folder / "parts").mkdir()
    for name in ("config.json", "parts/model.safetensors"):
        (folder / name).write_bytes(bytes(range(256)))


def save(folder, step, value=0, *, keep=1, score=None, write=write_model):
    return save_checkpoint(folder, step, write, {"value": value}, keep=keep, score=score)


def contents(folder):
    """Every file of every checkpoint; what is being written or dropped is none."""
    return {path: path.read_bytes() for one in checkpoints(folder) for path in one.rglob("*") if path.is_file()}


def newest_value(folder, warn=pytest.fail):
    newest = newest_good(folder, warn)
    return None if newest is None else load_state(newest)["value"]


class Killed(BaseException):
    """The process ended: nothing after this ran, not even what cleans up."""


class FaultyDisk:
    """Counts what is asked of the disk, and at the `at`-th operation is full once ("full") or ends the process.

    It knows what a power cut may take: bytes that were not synced, and names given after their folder was.
    """

    def __init__(self, patch, fault="none", at=0):
        self.fault, self.left, self.dead, self.trace = fault, at, False, []
        self.opened, self.unsynced, self.renamed = {}, set(), []
        for name in ("mkdir", "unlink", "rmdir"):
            patch.setattr(os, name, self.counted(name, getattr(os, name)))
        patch.setattr(os, "open", self.remembering(os.open))
        patch.setattr(os, "rename", self.journalled(os.rename))
        patch.setattr(os, "fsync", self.sync)
        patch.setattr(Path, "write_bytes", lambda path, content: self.write(path, content))
        patch.setattr(Path, "write_text", lambda path, text, **_: self.write(path, text.encode()))
        patch.setattr(torch, "save", self.torch_save(torch.save))

    def operation(self, name, path):
        if self.dead:
            raise Killed
        if not (self.fault == "full" and name in ("unlink", "rmdir")):  # a full disk can still delete
            self.left -= 1
            self.fail_if_due()
        self.trace.append((name, os.path.basename(path)))

    def fail_if_due(self):
        if self.left == 0 and self.fault == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.left == 0 and self.fault != "none":
            self.dead = True
            raise Killed

    def counted(self, name, original):
        def call(path, *rest, **options):
            self.operation(name, path)
            return original(path, *rest, **options)

        return call

    def remembering(self, original):
        def call(path, *rest, **options):
            if self.dead:
                raise Killed
            number = original(path, *rest, **options)
            self.opened[number] = path
            return number

        return call

    def journalled(self, original):
        def call(old, new):
            self.operation("rename", f"{Path(old).name} -> {Path(new).name}")
            original(old, new)
            self.renamed.append((Path(old), Path(new)))

        return call

    def sync(self, number):
        path = Path(self.opened[number])
        self.operation("fsync", path)
        self.unsynced.discard(path.stat().st_ino)
        self.renamed = [(old, new) for old, new in self.renamed if new.parent != path]

    def write(self, path, content):
        with path.open("wb") as file:
            self.unsynced.add(path.stat().st_ino)
            for half in (content[: len(content) // 2], content[len(content) // 2 :]):
                self.operation("write", path)
                file.write(half)
                file.flush()

    def torch_save(self, original):
        def call(state, file):
            content = io.BytesIO()
            original(state, content)
            self.write(Path(file.name), content.getvalue())

        return call

    def cut_power(self, folder, lost):
        """Take back up to `lost` names that were not synced, and half of every file that was not."""
        for old, new in self.renamed[::-1][:lost]:
            if new.exists() and not old.exists():
                new.rename(old)
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.unsynced:
                os.truncate(path, path.stat().st_size // 2)


def save_on(folder, step, value=0, *, fault="none", at=0, **options):
    """Save on a faulty disk: what was asked of it, and how the save ended (None: well)."""
    with pytest.MonkeyPatch.context() as patch:
        disk = FaultyDisk(patch, fault, at)
        try:
            save(folder, step, value, **options)
        except (Killed, OSError) as error:
            return disk, error
    return disk, None


def test_nothing_old_is_touched_before_the_new_one_is_on_the_disk(tmp_path):
    save(tmp_path / "run", 1)
    trace = save_on(tmp_path / "run", 2)[0].trace
    in_place = trace.index(("rename", ".writing-step-000002 -> step-000002"))
    before, after = trace[:in_place], trace[in_place + 1 :]
    files = {"config.json", "model.safetensors", "trainer.pt", "manifest.json"}
    last_write = max(place for place, (operation, _) in enumerate(before) if operation == "write")
    synced = [name for operation, name in before[last_write:] if operation == "fsync"]
    assert {*synced} == files | {"parts", ".writing-step-000002"}
    assert {operation for operation, _ in before} == {"mkdir", "write", "fsync"}
    assert after[:2] == [("fsync", "run"), ("fsync", tmp_path.name)]
    assert after[2] == ("rename", "step-000001 -> .dropping-step-000001")


@pytest.mark.parametrize("step", [2, 1])
@pytest.mark.parametrize("fault", ["kill", "full"])
def test_a_fault_at_any_operation_costs_at_most_the_checkpoint_being_written(tmp_path, fault, step):
    # The second save of step 1 replaces the first.
    save(tmp_path / "count", 1)
    trace = save_on(tmp_path / "count", step)[0].trace
    ended = []
    for at in range(1, len(trace) + 1):
        folder = tmp_path / f"{at:03d}"
        save(folder, 1, value="old")
        before = contents(folder)
        disk, error = save_on(folder, step, "new", fault=fault, at=at)
        in_place = ("rename", f".writing-step-{step:06d} -> step-{step:06d}") in disk.trace
        ended.append(newest_value(folder))
        assert ended[-1] == ("new" if in_place else "old"), disk.trace[-1]
        if fault == "full" and not in_place:
            assert "\n" not in str(error)
            assert "No space left on device" in str(error)
            assert contents(folder) == before
            assert [path.name for path in folder.iterdir()] == ["step-000001"]
        assert newest_value(save(folder, 3, value="next").parent) == "next"
        assert len(list(folder.iterdir())) == 1
    assert {*ended} == {"old", "new"}


saves = st.tuples(
    st.integers(0, 2),  # steps after the one that the run goes on from
    st.none() | st.integers(0, 3),  # score
    st.integers(1, 3),  # keep
    st.sampled_from(["none", "kill", "full", "power"]),
    st.integers(1, 40),  # the operation that fails; a save has about 30
    st.integers(0, 3),  # names that a power cut takes back
)


@settings(deadline=None)
@given(plan=st.lists(saves, max_size=8))
def test_any_sequence_of_saves_and_faults_leaves_the_last_whole_checkpoint(plan):
    with tempfile.TemporaryDirectory() as place:
        folder, step, last = Path(place), 0, None
        for value, (ahead, score, keep, fault, at, lost) in enumerate(plan):
            disk, error = save_on(folder, step + ahead, value, fault=fault, at=at, keep=keep, score=score)
            assert error is None or fault != "none"
            if disk.dead and fault == "power":
                disk.cut_power(folder, lost)
            said, before = [], last
            last = newest_value(folder, said.append)
            assert last == value or (error is not None and last == before)
            assert fault == "power" or not said, said
            newest = newest_good(folder, said.append)
            step = 0 if newest is None else int(newest.name.removesuffix(".old").removeprefix("step-"))


def test_the_error_of_a_full_disk_says_what_is_left_and_what_is_needed(tmp_path):
    save(tmp_path, 1, value="old", write=lambda folder: (folder / "model.safetensors").write_bytes(bytes(3_000_000)))
    _, error = save_on(tmp_path, 2, fault="full", at=3)
    assert "step-000002: No space left on device" in str(error)
    assert "it needs about 3.0 MB" in str(error)
    assert "the older ones are intact, the newest is step-000001" in str(error)
    _, error = save_on(tmp_path / "elsewhere", 2, fault="full", at=3)
    assert str(error).endswith("MB are free; there is no older one")


def test_an_error_of_the_writer_is_one_line_and_leaves_nothing_beside(tmp_path):
    save(tmp_path, 1, value="old")

    def broken(folder):
        write_model(folder)
        raise RuntimeError("the shard\nhas no end")

    with pytest.raises(OSError, match=r"^could not write .*step-000002: the shard; it needs .* intact, .*$") as error:
        save(tmp_path, 2, write=broken)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_an_interrupt_stays_one_and_leaves_nothing_beside(tmp_path):
    def interrupted(folder):
        write_model(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, write=interrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_could_not_be_loaded_again_is_refused_when_it_is_saved(tmp_path):
    save(tmp_path, 1, value="old")
    with pytest.raises(OSError, match=r"the state holds more than tensors, numbers, strings"):
        save(tmp_path, 2, value=Path("somewhere"))
    assert newest_value(tmp_path) == "old"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB of its own."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk to fill, and only on Linux")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(("model", "state"), [(3_000_000, 1), (100_000, 1_000_000)])
def test_a_disk_that_is_really_full_keeps_the_old_checkpoint(small_disk, model, state):
    save(small_disk, 1, value="old")
    before = contents(small_disk)

    def write(folder):
        (folder / "model.safetensors").write_bytes(bytes(model))

    with pytest.raises(OSError, match=r"No space left on device; it needs .* newest is step-000001"):
        save(small_disk, 2, value=torch.zeros(state), write=write)
    assert contents(small_disk) == before
    assert newest_value(save(small_disk, 2, value="new").parent) == "new"
