"""What is wrong with a recipe, its data or the machine is said before the first step; nothing is changed by asking."""

import io
import json
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from rich.console import Console

from sightline.data.scenes import World
from sightline.training import preflight as module
from sightline.training.build import build
from sightline.training.memory import SavedForBackward
from sightline.training.preflight import preflight, remedies
from sightline.training.preflight_page import show
from sightline.training.rehearsals import plan_of
from sightline.training.stage import StageRun


def run_of(recipe, model=None, processor=None, stage=0):
    if model is None:
        model, processor = build(recipe)
    return StageRun(recipe, recipe.stages[stage], model, processor, torch.device("cpu"), torch.float32)


@pytest.fixture
def with_rows(make_recipe, tmp_path):
    """A recipe that reads these rows of a file alone."""

    def make(rows, **train):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return make_recipe(data={"world": {"weight": 0}, "files": [{"path": str(path)}]}, train=train)

    return make


def turn(role, text, images=0):
    return {"role": role, "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


GOOD = {"messages": [turn("user", "what?"), turn("assistant", "this")]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [turn("user", "what?")]}, r"line 2: no token of it carries loss; give it an assistant message"),
        (
            {"messages": [turn("user", "a?", 2), turn("assistant", "b")], "images": ["x.png"]},
            r"line 2: 2 places .* 1 pictures .* take the row out",
        ),
        (
            {"messages": [turn("user", "a" * 300), turn("assistant", "b")]},
            r"line 2: its \d+ tokens are more than train\.max_length 100; shorten it",
        ),
    ],
)
def test_a_row_that_cannot_teach_is_named_with_its_remedy(with_rows, row, message):
    with pytest.raises(ValueError, match=message):
        preflight(run_of(with_rows([GOOD, row], max_length=100)))


def test_the_longest_and_the_odd_rows_are_rehearsed(with_rows, monkeypatch):
    rows = [GOOD] * 4 + [{"messages": [turn("user", "why? " * 30), turn("assistant", "because")]}]
    run = run_of(with_rows(rows, batch_size=1))
    seen = []
    rehearse = run.rehearse
    monkeypatch.setattr(
        run, "rehearse", lambda batches, rows: seen.append(batches[0]["input_ids"].shape[1]) or rehearse(batches, rows)
    )
    report = preflight(run)
    assert seen[-1] == max(seen) > min(seen)
    assert "5 read" in report.rows
    assert "line 5" in report.rows
    assert "5 without a picture" in report.rows


def test_a_rehearsal_changes_nothing(make_recipe):
    recipe = make_recipe(stages=[{"kind": "joint", "steps": 2}])
    plain = run_of(recipe)
    expected = list(map(loss_of, plain.steps()))
    rehearsed = run_of(recipe)
    preflight(rehearsed)
    assert list(map(loss_of, rehearsed.steps())) == expected
    for one, other in zip(plain.model.parameters(), rehearsed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def loss_of(record):
    return record["loss"]


def test_the_report_says_what_is_trained_how_fast_and_the_first_loss_against_a_guess(make_recipe):
    recipe = make_recipe(stages=[{"kind": "align", "steps": 2}])
    run = run_of(recipe)
    report = preflight(run)
    assert report.guess == pytest.approx(math.log(run.model.config.vocab_size))
    assert report.first_loss == pytest.approx(report.guess, rel=0.1)
    assert report.flops > 0
    assert 0 < report.peak < report.limit
    text = printed(report, run)
    assert "stage align: align, 2 steps, batches of 2" in text
    assert text.count("frozen") == 2
    assert "0.0015 (AdamW)" in text
    assert "a guess over the vocabulary costs" in text
    assert f"worst batch: {report.worst}: peak {report.peak / 2**30:.2f} of {report.limit / 2**30:.1f} GiB" in text


def test_the_worst_batch_is_rehearsed_beside_the_gradients_of_the_parts_before_it(make_recipe, monkeypatch):
    beside = {}
    for accumulate in (1, 2):
        run = run_of(make_recipe(train={"accumulate": accumulate, "batch_size": 2}))
        loss, seen = run.objective.loss, []

        def watched(batch, total, run=run, loss=loss, seen=seen):
            seen.append(sum(weight.grad is not None for weight in run.trained))
            return loss(batch, total)

        monkeypatch.setattr(run.objective, "loss", watched)
        preflight(run)
        beside[accumulate] = set(seen)
        assert all(weight.grad is None for weight in run.trained)
        assert [loss_of(record) for record in run.steps()]
        trained = len(run.trained)
    assert beside == {1: {0}, 2: {trained}}


def test_regions_are_rehearsed_in_every_language_with_places_and_without(make_recipe, monkeypatch):
    run = run_of(make_recipe(stages=[{"kind": "tower", "steps": 1}]))
    drawn, regions = set(), World.regions

    def watched(self, index, placed=False, languages=None):
        drawn.add((self.languages, placed))
        return regions(self, index, placed, languages)

    monkeypatch.setattr(World, "regions", watched)
    preflight(run)
    assert drawn == {((language,), placed) for language in ("en", "zh") for placed in (False, True)}


def printed(report, run):
    console = Console(file=io.StringIO(), width=200)
    show(report, run, console)
    return console.file.getvalue()


def test_a_first_loss_far_above_a_guess_is_a_warning(make_recipe):
    run = run_of(make_recipe())
    report = preflight(run)
    assert "far above a guess" not in printed(report, run)
    assert "the first loss is far above a guess" in printed(replace(report, first_loss=2 * report.guess), run)


def test_a_batch_that_does_not_fit_is_an_error_with_remedies(make_recipe, monkeypatch):
    run = run_of(make_recipe())

    def out_of_memory(batches, name):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(run, "rehearse", out_of_memory)
    with pytest.raises(
        ValueError,
        match=r"stage joint: the rehearsal of its longest rows \(.*\), .* rows of .* does not fit into .* GiB: "
        r"raise stages\.joint\.train\.accumulate above 1, lower stages\.joint\.train\.batch_size, set .*"
        "activation_checkpointing: true or shorten the longest rows$",
    ):
        preflight(run)


def test_what_a_batch_of_single_rows_needs_is_not_lowered_by_its_size(make_recipe):
    run = run_of(make_recipe(train={"batch_size": 4, "accumulate": 4, "activation_checkpointing": True}))
    assert remedies(run) == "shorten the longest rows"


WIDE = {"hidden_size": 128, "intermediate_size": 1024, "num_attention_heads": 4, "num_key_value_heads": 2}


def kept(run, batch):
    """Bytes that a batch's forward pass keeps."""
    with SavedForBackward(run.model) as saved:
        run.rehearse([batch], "longest")
    return saved.bytes


@pytest.fixture
def wide(make_recipe, monkeypatch):
    """A run whose process needs nothing, and what its full batch keeps."""
    run = run_of(make_recipe(model={"overrides": WIDE}, train={"batch_size": 48}))
    (worst,) = plan_of(run.data, None).full
    assert len(worst.batch["labels"]) == 48
    monkeypatch.setattr(module, "memory_used", lambda device: 0)
    return run, kept(run, worst.batch)


def test_a_batch_that_fits_is_not_refused(wide, monkeypatch):
    run, needed = wide
    monkeypatch.setattr(module, "memory_limit", lambda device: int(1.1 * needed))
    preflight(run)


def test_a_batch_too_large_for_the_machine_is_said_before_it_is_tried(wide, monkeypatch):
    run, needed = wide
    rehearsed, rehearse = [], run.rehearse
    monkeypatch.setattr(
        run, "rehearse", lambda some, rows: rehearsed.append(len(some[0]["labels"])) or rehearse(some, rows)
    )
    monkeypatch.setattr(module, "memory_limit", lambda device: int(0.9 * needed))
    with pytest.raises(ValueError, match=r"longest rows .*, 48 rows of .* does not fit"):
        preflight(run)
    assert max(rehearsed) == 2


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_batch_of_one_or_two_rows_is_judged_beforehand_too(with_rows, monkeypatch, batch_size):
    long = {"messages": [turn("user", "why? " * 50), turn("assistant", "because")]}
    run = run_of(with_rows([GOOD, long], batch_size=batch_size))
    tokens, rehearse = [], run.rehearse
    monkeypatch.setattr(
        run, "rehearse", lambda some, rows: tokens.append(some[0]["input_ids"].numel()) or rehearse(some, rows)
    )
    (worst,) = plan_of(run.data, None).full
    needed = kept(run, worst.batch)
    tokens.clear()
    monkeypatch.setattr(module, "memory_used", lambda device: 0)
    monkeypatch.setattr(module, "memory_limit", lambda device: needed // 5)
    with pytest.raises(ValueError, match=r"its longest rows .* does not fit"):
        preflight(run)
    assert max(tokens) < worst.batch["input_ids"].numel()


def test_many_pictures_in_short_rows_can_be_the_worst_batch(with_rows, tmp_path):
    for colour in ("red", "blue"):
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{colour}.png")
    asked = [turn("user", "which?", 6), turn("assistant", "none")]
    many = [{"messages": asked, "images": [f"{colour}.png"] * 6} for colour in ("red", "blue")]
    words = {"messages": [turn("user", "why? " * 50), turn("assistant", "because")]}
    run = run_of(with_rows([*many, words, words], batch_size=2))
    pictures = {one.name: one.batch for one in plan_of(run.data, None).full}
    assert len(pictures["most pictures"]["pixel_values"]) == 12
    assert "pixel_values" not in pictures["longest"]
    run = run_of(with_rows(many, batch_size=2))
    assert [one.name for one in plan_of(run.data, None).full] == ["longest"]


def test_a_loss_that_is_not_finite_names_the_rows(with_rows):
    run = run_of(with_rows([GOOD]))
    with torch.no_grad():
        next(run.model.parameters()).fill_(math.nan)
        run.model.get_output_embeddings().weight.fill_(math.nan)
    with pytest.raises(
        FloatingPointError, match=r"in the rehearsal of its longest rows \(.*rows\.jsonl, line 1\); .*weights"
    ):
        preflight(run)


def test_memory_near_its_limit_is_a_warning(make_recipe):
    run = run_of(make_recipe())
    report = preflight(run)
    said = printed(replace(report, limit=int(report.peak * 1.05)), run)
    assert "set stages.joint.train.activation_checkpointing: true" in said


def test_a_stage_that_trains_the_projector_alone_needs_pictures(with_rows, make_recipe):
    recipe = with_rows([GOOD])
    recipe = recipe.model_copy(update={"stages": make_recipe(stages=[{"kind": "align", "steps": 1}]).stages})
    with pytest.raises(ValueError, match=r"stage align: it trains the projector alone, and no row has a picture"):
        preflight(run_of(recipe))
    seeing = make_recipe(stages=[{"kind": "align", "trains": ["vision", "projector"], "steps": 1}])
    with pytest.raises(ValueError, match=r"it trains the vision and projector alone, and no row has a picture"):
        preflight(run_of(recipe.model_copy(update={"stages": seeing.stages})))


def test_a_stage_in_which_nothing_learns_is_refused(make_recipe):
    run = run_of(make_recipe(stages=[{"kind": "instruct", "steps": 1}]))
    run.trained = []
    with pytest.raises(ValueError, match=r"stage instruct: nothing of the projector and language learns in it"):
        preflight(run)


def test_a_language_that_the_tokenizer_does_not_know_is_a_warning(with_rows):
    russian = {"messages": [turn("user", "Что изображено на картинке?"), turn("assistant", "Красный мяч на траве.")]}
    run = run_of(with_rows([russian] * 5))
    assert "warning: the tokenizer carries this language badly: 1." in printed(preflight(run), run)
    english = {"messages": [turn("user", "What colour is the circle at the top?"), turn("assistant", "Red and blue.")]}
    run = run_of(with_rows([english] * 10))
    assert "carries" not in printed(preflight(run), run)


@pytest.mark.parametrize(
    ("length", "said"),
    [
        # A quarter of the places are the world's.
        ({"samples": 400}, "rows.jsonl: 100 groups (of rows about one picture), each seen 3.0 times"),
        (
            {"samples": 40},
            "100 groups (of rows about one picture), 30 of them seen: stages.some.samples=134 shows each once",
        ),
        (
            {"steps": 10},
            "100 groups (of rows about one picture), 30 of them seen: stages.some.steps=34 shows each once",
        ),
        ({"minutes": 1}, ""),
    ],
)
def test_how_often_a_file_is_seen_is_said(make_recipe, tmp_path, length, said):
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(GOOD) + "\n") * 100)
    recipe = make_recipe(
        data={"world": {"weight": 1}, "files": [{"path": str(path), "weight": 3}]},
        train={"batch_size": 4},
        stages=[{"kind": "joint", "name": "some", **length}],
    )
    run = run_of(recipe)
    text = printed(preflight(run), run)
    assert said in text
    assert ("groups" in text) == bool(said)


def test_of_a_mixture_of_experts_the_first_loss_is_said_to_hold_the_routers_balance(make_recipe):
    sparse = {"use_moe": True, "n_routed_experts": 4, "num_experts_per_token": 2}
    for overrides, said in ((sparse, True), ({}, False)):
        run = run_of(make_recipe(model={"overrides": overrides}))
        report = replace(preflight(run_of(make_recipe())), first_loss=6.5)
        assert ("first loss 6.500, the routers' balance losses in it; a guess" in printed(report, run)) == said
