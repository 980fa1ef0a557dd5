"""A frozen tower's features are computed once a picture; no bit of a run depends on whether they were kept."""

import io
import json
import os
import time
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file

from sightline.nn.vlm import VLM
from sightline.training.build import build
from sightline.training.feature_cache import ABANDONED, FeatureCache
from sightline.training.frozen_features import KEY_BYTES, FrozenFeatures, tower_digest
from sightline.training.loop import train
from sightline.training.stage import StageRun
from sightline.whole_file import LEFTOVER

SHAPE = (16, 8)
A, B = bytes([1] * KEY_BYTES), bytes([2] * KEY_BYTES)
ROOM = 10_000


def features(seed=0):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def entries(folder):
    return sorted(path for path in Path(folder).rglob("*.safetensors"))


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path, "tower", SHAPE, ROOM)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_comes_back_with_every_bit(cache, tmp_path, dtype):
    given = features().to(dtype)
    cache.put(A, given)
    again = FeatureCache(tmp_path, "tower", SHAPE, ROOM).get(A)
    assert again.dtype == dtype
    assert torch.equal(again, given)
    assert cache.get(B) is None


def damage_tail(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def empty(path):
    path.write_bytes(b"")


def without_words(path):
    save_file({"features": features()}, path)


@pytest.mark.parametrize("harm", [damage_tail, cut, empty, without_words])
def test_a_damaged_entry_is_none_and_makes_place_for_a_new_one(cache, tmp_path, harm):
    cache.put(A, features())
    (path,) = entries(tmp_path)
    harm(path)
    assert cache.get(A) is None
    assert entries(tmp_path) == []
    cache.put(A, features())
    assert torch.equal(cache.get(A), features())


def test_an_entry_of_another_picture_tower_or_shape_is_none(cache, tmp_path):
    cache.put(A, features())
    (path,) = entries(tmp_path)
    content = path.read_bytes()
    for foreign in (cache._path(B), FeatureCache(tmp_path, "other", SHAPE, ROOM)._path(A)):
        foreign.parent.mkdir(exist_ok=True)
        foreign.write_bytes(content)
    assert cache.get(B) is None
    assert FeatureCache(tmp_path, "other", SHAPE, ROOM).get(A) is None
    assert FeatureCache(tmp_path, "tower", (8, 16), ROOM).get(A) is None


def test_the_bound_holds_and_other_towers_go_first_the_oldest_before(tmp_path):
    def fill(tower, limit, keys):
        cache = FeatureCache(tmp_path, tower, SHAPE, limit)
        for number in keys:
            cache.put(bytes([number] * KEY_BYTES), features())
        return cache

    fill("old", ROOM, [1, 2])
    fill("older", ROOM, [1, 2])
    os.utime(tmp_path / "older", (0, 0))
    size = entries(tmp_path)[0].stat().st_size
    cache = fill("new", 4 * size, [1])
    assert {path.parents[1].name for path in entries(tmp_path)} == {"old", "new"}
    cache = fill("new", 4 * size, range(1, 9))
    assert {path.parents[1].name for path in entries(tmp_path)} == {"new"}
    assert len(entries(tmp_path)) == 4
    assert cache.is_full
    assert cache.used == sum(path.stat().st_size for path in entries(tmp_path)) <= 4 * size
    assert cache.get(bytes([1] * KEY_BYTES)) is not None


def test_what_a_killed_run_left_is_no_entry_and_goes(cache, tmp_path):
    cache.put(A, features())
    leftovers = [entries(tmp_path)[0].with_name(f"{LEFTOVER}{n}") for n in range(2)]
    for path in leftovers:
        path.write_bytes(b"half")
    old = time.time() - ABANDONED - 1
    os.utime(leftovers[0], (old, old))
    again = FeatureCache(tmp_path, "tower", SHAPE, ROOM)
    assert [path.exists() for path in leftovers] == [False, True]
    assert torch.equal(again.get(A), features())


def test_a_folder_that_cannot_be_written_keeps_nothing_and_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("no folder")
    cache = FeatureCache(tmp_path / "file", "tower", SHAPE, ROOM)
    cache.put(A, features())
    assert cache.get(A) is None


def test_two_runs_may_make_room_at_once(tmp_path, monkeypatch):
    FeatureCache(tmp_path, "old", SHAPE, ROOM).put(A, features())
    cache = FeatureCache(tmp_path, "new", SHAPE, entries(tmp_path)[0].stat().st_size)

    def gone(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr("sightline.training.feature_cache._files", gone)  # the other one has just removed it
    cache.put(A, features())
    assert cache.is_full


# With a run around it.


@pytest.fixture(scope="module")
def built(recipe):
    return build(recipe)


@pytest.fixture
def run_of(built):
    """A run's first stage, from the same model always."""

    def make(recipe, change=lambda model: None):
        model, processor = deepcopy(built)
        change(model)
        return StageRun(recipe, recipe.stages[0], model, processor, torch.device("cpu"), torch.float32)

    return make


@pytest.fixture
def losses(run_of):
    return lambda recipe, **how: [record["loss"] for record in run_of(recipe, **how).steps()]


@pytest.fixture
def reading(make_recipe, tmp_path, monkeypatch):
    """A recipe whose rows show three pictures, one of them twice under two names."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green"), ("same-as-a", "red")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    asked = [{"type": "image"}, {"type": "text", "text": "What?"}]
    lines = [
        {
            "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": name}],
            "images": [name + ".png"],
        }
        for name in ("a", "b", "c", "same-as-a")
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def make(gib, steps=6, kind="instruct", world=0.0, workers=0):
        return make_recipe(
            data={"world": {"weight": world}, "files": [{"path": str(tmp_path / "rows.jsonl")}]},
            train={"feature_cache_gib": gib, "workers": workers, "batch_size": 3},
            stages=[{"kind": kind, "steps": steps}],
        )

    return make


@pytest.fixture
def towers_view(monkeypatch):
    """How many pictures the tower has been shown."""
    seen = []
    encode = VLM.encode_images
    monkeypatch.setattr(VLM, "encode_images", lambda self, pixels: seen.append(len(pixels)) or encode(self, pixels))
    return seen


@pytest.mark.parametrize(("kind", "world"), [("instruct", 0.0), ("align", 0.0), ("instruct", 1.0)])
def test_losses_are_the_same_bits_with_and_without_the_cache(reading, kind, world, losses):
    without = losses(reading(0, kind=kind, world=world))
    filling = losses(reading(1, kind=kind, world=world))
    filled = losses(reading(1, kind=kind, world=world))
    assert without == filling == filled
    assert len(set(without)) == len(without)


def test_each_picture_is_shown_to_the_tower_once_whatever_it_is_called(reading, towers_view, tmp_path, losses):
    losses(reading(1))
    assert towers_view == [1, 1, 1]
    assert len(entries(tmp_path / "cache")) == 3
    losses(reading(1))
    assert towers_view == [1, 1, 1]


def test_pictures_of_the_endless_world_are_not_kept(reading, tmp_path, towers_view, run_of):
    run = run_of(reading(1, world=3.0))
    list(run.steps())
    assert len(entries(tmp_path / "cache")) <= 3
    assert len(towers_view) > 6


def test_a_tower_that_is_trained_keeps_and_takes_nothing(reading, tmp_path, losses, run_of):
    losses(reading(1, kind="joint"))
    assert entries(tmp_path / "cache") == []
    (batch,) = run_of(reading(1, kind="joint")).data[0]
    assert "picture_keys" not in batch


def test_a_worker_sends_the_same_keys(reading, tmp_path, losses):
    assert losses(reading(1, workers=1)) == losses(reading(0))
    assert len(entries(tmp_path / "cache")) == 3


def test_a_damaged_entry_changes_no_loss(reading, tmp_path, losses):
    expected = losses(reading(1))
    for path, harm in zip(entries(tmp_path / "cache"), (damage_tail, cut, empty), strict=True):
        harm(path)
    assert losses(reading(1)) == expected


def test_an_entry_with_other_features_would_be_seen_in_the_losses(reading, tmp_path, losses, run_of):
    """The cache is used at all: what it holds under a true checksum reaches the model."""
    expected = losses(reading(1))
    run = run_of(reading(1))
    run.objective.begin()
    cache = run.objective._features.cache
    for path in entries(tmp_path / "cache"):
        path.unlink()
        cache.put(bytes.fromhex(path.stem), torch.ones(cache.shape))
    assert losses(reading(1)) != expected


def test_a_digest_tells_towers_preparations_and_arithmetic_apart(built):
    model, processor = built
    pictures = processor.image_processor
    digests = [tower_digest(model, pictures, torch.float32)]
    assert digests[0] == tower_digest(model, pictures, torch.float32)
    digests.append(tower_digest(model, pictures, torch.bfloat16))
    digests.append(tower_digest(model, pictures, torch.float32, is_compiled=True))
    other = type(pictures)(**{**pictures.to_dict(), "image_mean": [0.4, 0.5, 0.5]})
    digests.append(tower_digest(model, other, torch.float32))
    weight = next(model.vision_encoder.parameters())
    with torch.no_grad():
        kept = weight.clone()
        weight.view(-1)[0] += 1
        digests.append(tower_digest(model, pictures, torch.float32))
        weight.copy_(kept)
    model.config.vision_feature_layer = -2
    digests.append(tower_digest(model, pictures, torch.float32))
    model.config.vision_feature_layer = -1
    assert len(set(digests)) == len(digests)
    with torch.no_grad():
        model.model.norm.weight.mul_(2)
    assert tower_digest(model, pictures, torch.float32) == digests[0]


def test_what_one_tower_saw_never_reaches_another(reading, losses, towers_view):
    @torch.no_grad()
    def another(model):
        for parameter in model.vision_encoder.parameters():
            parameter.mul_(1.5)

    first = losses(reading(1))
    before = len(towers_view)
    assert losses(reading(1), change=another) != first
    assert len(towers_view) == before + 3
    assert losses(reading(1), change=another) == losses(reading(0), change=another)


def test_a_resumed_run_with_a_cache_is_the_uninterrupted_one_without(reading, tmp_path):
    quiet = Console(file=io.StringIO())
    train(reading(0), tmp_path / "whole", console=quiet)
    train(reading(1, steps=2), tmp_path / "run", console=quiet)
    train(reading(1), tmp_path / "run", resume=True, console=quiet)
    one, other = ((tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "run"))
    assert [json.loads(line)["loss"] for line in one] == [json.loads(line)["loss"] for line in other]


def test_features_take_the_place_of_pixels_in_the_model(built):
    model, processor = built
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    answer = [{"role": "assistant", "content": [{"type": "text", "text": "This."}]}]
    batch = processor.encode_for_training([(asked + answer, [Image.new("RGB", (9, 9), "red")])])
    model.eval()
    with torch.no_grad():
        pixels = batch.pop("pixel_values")
        expected = model(**batch, pixel_values=pixels).logits
        seen = model.encode_images(pixels)
        assert torch.equal(model(**batch, image_features=seen).logits, expected)
        with pytest.raises(ValueError, match="give one of them"):
            model(**batch, pixel_values=pixels, image_features=seen)
        with pytest.raises(ValueError, match=r"1 .*2"):
            model(**batch, image_features=torch.cat([seen, seen]))


def test_no_cache_is_opened_where_none_is_wanted(built, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, processor = built
    frozen = FrozenFeatures(model, processor.image_processor, 0, torch.float32)
    frozen.begin()
    assert frozen.cache is None
    assert list(tmp_path.iterdir()) == []
