"""A checkpoint gives back what was saved, damage is found before it is loaded, and the right ones are kept."""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.training.checkpoint import checkpoints, load_state, newest_good, save_checkpoint, save_whole, verify

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)), "parts/extra.bin": b"more"}


def write_model(folder):
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def save(folder, step, value=0, *, keep=2, score=None, write=write_model):
    return save_checkpoint(folder, step, write, {"value": value}, keep=keep, score=score)


def names(folder):
    return [path.name for path in checkpoints(folder)]


def newest_with_warnings(folder):
    warnings = []
    return newest_good(folder, warnings.append), warnings


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder that must stay as it is, with the checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("saved")
    return [save(folder, 1), save(folder, 2, score=0.123)]


@pytest.fixture
def pair(saved, tmp_path):
    shutil.copytree(saved[0].parent, tmp_path, dirs_exist_ok=True)
    return checkpoints(tmp_path)


def test_a_checkpoint_gives_back_what_was_saved(tmp_path):
    state = {"ones": torch.ones(3), "nested": [{"lr": 0.1, "name": "x", "none": None}], "rng": torch.get_rng_state()}
    path = save_checkpoint(tmp_path / "new" / "run", 7, write_model, state, keep=1)
    assert path == tmp_path / "new" / "run" / "step-000007"
    verify(path)
    loaded = load_state(path)
    assert torch.equal(loaded.pop("ones"), state.pop("ones"))
    assert torch.equal(loaded.pop("rng"), state.pop("rng"))
    assert loaded == state
    assert {name: (path / name).read_bytes() for name in FILES} == FILES


def test_the_manifest_holds_step_score_and_every_file(saved):
    manifest = json.loads((saved[1] / "manifest.json").read_text())
    assert (manifest["step"], manifest["score"]) == (2, 0.123)
    assert manifest["files"].keys() == {*FILES, "trainer.pt"}
    assert manifest["files"]["model.safetensors"]["size"] == 256


def test_a_folder_without_checkpoints_has_no_newest(tmp_path):
    assert newest_with_warnings(tmp_path / "nowhere") == (None, [])
    (tmp_path / "step-000008").mkdir()
    (tmp_path / "step-last").mkdir()
    assert newest_with_warnings(tmp_path) == (None, [])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def make_unreadable(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", [*FILES, "trainer.pt", "manifest.json"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [(flip, "damaged"), (truncate, "damaged"), (lambda path: path.unlink(), "missing"), (make_unreadable, "read")],
)
def test_a_damaged_checkpoint_is_skipped_and_the_warning_names_the_file(pair, name, damage, says):
    damage(pair[1] / name)
    found, (warning,) = newest_with_warnings(pair[0].parent)
    assert found == pair[0]
    assert "step-000002" in warning
    assert str(pair[1] / name) in warning
    assert says in warning
    assert "\n" not in warning


def test_a_file_that_lost_its_end_is_told_with_both_sizes(pair):
    truncate(pair[1] / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: it holds 255 bytes, and 256 were written"):
        verify(pair[1])


@given(place=st.integers(min_value=0), bit=st.integers(0, 7), data=st.data())
def test_any_flipped_bit_is_found(saved, place, bit, data):
    path = data.draw(st.sampled_from(sorted(path for path in saved[1].rglob("*") if path.is_file())))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[place % len(whole)] ^= 1 << bit
    try:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=path.name):
            verify(saved[1])
    finally:
        path.write_bytes(whole)
    verify(saved[1])


def test_where_all_are_damaged_each_is_warned_about(pair):
    for path in pair:
        flip(path / "trainer.pt")
    found, warnings = newest_with_warnings(pair[0].parent)
    assert found is None
    assert [path.name for path in reversed(pair)] == [warning.split()[3].rstrip(":") for warning in warnings]


@pytest.mark.parametrize(
    ("scores", "keep", "stay"),
    [
        ([None, None, None, None], 2, [3, 4]),
        ([None, None, None, None], 9, [1, 2, 3, 4]),
        ([0.5, 0.9, 0.7, 0.8], 1, [2, 4]),
        ([0.5, 0.9, 0.7, 0.9], 1, [4]),  # of two as good, the later
        ([0.1, None, None, None], 1, [1, 4]),
        ([0.1, -0.2, None, None], 2, [1, 3, 4]),
        ([-0.3, -0.2, None, -0.4], 1, [2, 4]),
    ],
)
def test_the_last_ones_and_the_best_are_kept(tmp_path, scores, keep, stay):
    for step, score in enumerate(scores, start=1):
        save(tmp_path, step, keep=keep, score=score)
    assert names(tmp_path) == [f"step-{step:06d}" for step in stay]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_cannot_be_compared_is_refused(tmp_path, score):
    with pytest.raises(ValueError, match=r"the score of step 3 is (nan|inf)"):
        save(tmp_path, 3, score=score)
    assert names(tmp_path) == []


def test_a_later_checkpoint_that_the_run_could_not_use_goes_before_those_it_used(pair):
    folder = save(pair[0].parent, 4, keep=3).parent
    flip(folder / "step-000004" / "trainer.pt")
    save(folder, 3, keep=2)
    assert names(folder) == ["step-000002", "step-000003"]


def test_saving_a_step_again_replaces_it(pair):
    again = save(pair[0].parent, 2, value="again")
    assert load_state(again)["value"] == "again"
    assert names(again.parent) == ["step-000001", "step-000002"]


def test_what_a_killed_run_left_is_no_checkpoint_and_goes_at_the_next_save(pair):
    folder = pair[0].parent
    for name in (".writing-step-000003", ".dropping-step-000000"):
        shutil.copytree(pair[0], folder / name)
    assert names(folder) == ["step-000001", "step-000002"]
    save(folder, 3, keep=9)
    assert sorted(path.name for path in folder.iterdir()) == ["step-000001", "step-000002", "step-000003"]


def test_a_model_that_was_being_removed_when_the_run_was_killed_is_in_nobodys_way(tmp_path):
    folder = tmp_path / "model"
    for number in range(3):
        left = tmp_path / ".dropping-model.old"
        left.mkdir(exist_ok=True)
        (left / "model.safetensors").write_bytes(b"half of it")
        save_whole(folder, lambda path, number=number: (path / "weights").write_text(str(number)) and None)
        assert (folder / "weights").read_text() == str(number)
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_was_about_to_be_replaced_counts_until_its_successor_is_there(pair):
    folder = pair[0].parent
    replaced = pair[1].rename(folder / "step-000002.old")
    assert newest_with_warnings(folder) == (replaced, [])
    save(folder, 3, keep=9)
    assert names(folder) == ["step-000001", "step-000002.old", "step-000003"]
    save(folder, 2, keep=9)
    assert names(folder) == ["step-000001", "step-000002", "step-000003"]


def test_checkpoints_are_ordered_by_number(tmp_path):
    for step in (1_000_000, 999_999):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-999999", "step-1000000"]
