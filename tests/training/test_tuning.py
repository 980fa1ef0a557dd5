"""What is tuned follows from rows and memory by one rule, is said and saved, and stays what it was on a resume."""

import io
import json
import shutil
from dataclasses import replace

import pytest
from rich.console import Console

from sightline.config import PRESETS
from sightline.training import settling, tuning
from sightline.training.build import build
from sightline.training.checkpoint import save_model
from sightline.training.loop import train
from sightline.training.recipe import Recipe, TuneSection
from sightline.training.recipe_file import load_recipe, save_recipe
from sightline.training.settling import settled
from sightline.training.tuning import FEW, MANY, RATE, ROOM, Facts, applied, choose

GIB = 2**30
TOWER = 90_000_000


@pytest.fixture(autouse=True)
def towers_are_large(monkeypatch):
    """Or the small ones of these tests would all be tuned."""
    monkeypatch.setattr(tuning, "SMALL_TOWER", 0)


def test_a_small_tower_is_tuned_with_all_the_rest(tuned, monkeypatch):
    monkeypatch.setattr(tuning, "SMALL_TOWER", TOWER + 1)
    assert str(choose(facts(FEW))) == str(choose(facts(MANY))) == str(choose(facts(None))) == "joint"
    assert str(choose(facts(FEW - 1))) == "projector"
    assert str(choose(facts(MANY, pictures=False))) == "full"
    assert str(choose(facts(MANY, memory=int(facts(MANY).full_bytes / ROOM) + 1))) == "full"
    assert choose(facts(420)).because == "a tower of 90,000,000 weights is small enough to learn new pictures itself"
    monkeypatch.setattr(tuning, "SMALL_TOWER", TOWER)
    assert str(choose(facts(420))) == "lora rank 16"
    after = settled(tuned(tune="joint"))
    assert after.stages[0].trains == ("vision", "projector", "language")
    assert after.train.lr == pytest.approx(RATE * tuned().train.lr)


def facts(rows, *, pictures=True, tuned=5_000_000, memory=16 * GIB, has_peft=True):
    return Facts(rows, pictures, tuned, TOWER, memory, has_peft)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (1, "projector"),
        (FEW - 1, "projector"),
        (FEW, "lora rank 16"),
        (420, "lora rank 16"),
        (MANY - 1, "lora rank 16"),
        (MANY, "full"),
        (1_000_000, "full"),
        (None, "full"),
    ],
)
def test_the_rows_decide_where_the_memory_suffices(rows, chosen):
    assert str(choose(facts(rows))) == chosen


def test_rows_without_pictures_give_a_projector_alone_nothing_to_learn():
    assert str(choose(facts(1, pictures=False))) == "lora rank 16"


def test_many_rows_get_adapters_of_a_higher_rank_where_full_tuning_does_not_fit():
    just = facts(MANY, tuned=500_000_000)
    enough = int(just.full_bytes / ROOM) + 1
    assert str(choose(facts(MANY, tuned=500_000_000, memory=enough))) == "full"
    assert str(choose(facts(MANY, tuned=500_000_000, memory=enough - 2))) == "lora rank 64"
    assert str(choose(facts(MANY - 1, tuned=500_000_000, memory=GIB))) == "lora rank 16"


def test_without_peft_there_are_no_adapters():
    assert str(choose(facts(420, has_peft=False))) == "full"
    assert str(choose(facts(420, tuned=500_000_000, memory=GIB, has_peft=False))) == "projector"
    assert "pip install 'sightline[train]'" in choose(facts(420, has_peft=False)).because
    assert "PEFT" not in choose(facts(MANY, has_peft=False)).because


def test_new_words_need_embeddings_that_move():
    assert str(choose(replace(facts(420), new_words=True))) == "full"


def test_the_reason_gives_the_figures():
    assert choose(facts(420)).because == "420 rows are few beside 5,000,000 weights (fewer than 2,000)"
    assert "9.3 GiB for all 600,000,000 weights are more than 60% of 8.0 GiB" in (
        choose(facts(MANY, tuned=600_000_000, memory=8 * GIB)).because
    )


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "model"
    save_model(folder, *build(recipe))
    return folder


@pytest.fixture
def tuned(recipe, folder, tmp_path, picture):
    """A recipe that tunes a checkpoint on `rows` rows of a file, as `tune` says."""
    shutil.copy(picture, tmp_path / "a.png")

    def make(rows=40, tune="auto", **sections):
        turns = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": "This."},
        ]
        lines = [json.dumps({"messages": turns, "images": ["a.png"], "n": n}) for n in range(rows)]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        fields = recipe.model_dump(exclude_none=True) | {
            "tokenizer": {},
            "model": {"checkpoint": str(folder)},
            "data": {"files": [{"path": str(tmp_path / "rows.jsonl")}]},
            "stages": [{"kind": "instruct", "steps": 2}],
            "tune": tune,
        }
        return Recipe.model_validate(fields | sections)

    return make


def test_adapters_move_faster_and_the_projector_as_fast_as_before(tuned):
    before = tuned(stages=[{"kind": "instruct", "steps": 2, "train": {"lr": 0.5, "lr_scale": {"projector": 2}}}])
    after = settled(before)
    assert (after.tune.what, after.model.lora.rank, after.model.lora.alpha) == ("lora", 16, 32)
    assert after.tune.because.startswith("40 rows are few beside ")
    assert after.stages[0].trains == ("projector", "language")
    assert after.train.lr == pytest.approx(RATE * before.train.lr)
    assert after.train.lr_scale == {"projector": 1 / RATE}
    stage = after.optimisation_of(after.stages[0])
    assert (stage.lr, stage.lr_scale) == (pytest.approx(RATE * 0.5), {"projector": 2 / RATE})


def test_a_model_that_becomes_a_mixture_of_experts_is_counted_as_one(tuned, folder, monkeypatch):
    counted = []
    monkeypatch.setattr(settling, "choose", lambda facts: counted.append(facts.tuned) or choose(facts))
    sparse = tuned(model={"checkpoint": str(folder), "upcycle": {"n_routed_experts": 4}})
    for recipe in (tuned(), sparse):
        settled(recipe)
    dense, experts = counted
    assert experts == sum(p.numel() for n, p in build(sparse)[0].named_parameters() if "vision_encoder." not in n)
    assert experts > 1.5 * dense


def test_a_projector_alone_is_all_that_is_trained(tuned):
    before, after = tuned(rows=3), settled(tuned(rows=3))
    assert after.model == before.model
    assert after.stages[0].trains == ("projector",)
    assert after.train.lr == pytest.approx(RATE * before.train.lr)


@pytest.mark.parametrize("what", ["joint", "full", "projector", "lora"])
def test_an_explicit_choice_is_followed_whatever_the_rows(tuned, what):
    after = settled(tuned(tune=what))
    assert (after.tune.what, after.tune.because) == (what, "the recipe says so")
    assert (after.model.lora is not None) == (what == "lora")
    if what == "full":
        assert after.model_dump(exclude={"tune"}) == tuned(tune=what).model_dump(exclude={"tune"})
    assert settled(tuned(tune={"what": "lora", "rank": 3})).model.lora.rank == 3


def test_what_is_settled_stays_and_is_saved_as_it_is(tuned, tmp_path):
    once = settled(tuned())
    assert settled(once) is once
    save_recipe(once, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == once
    without = tuned(tune=None)
    assert settled(without) is without


def test_rows_of_all_files_count_and_pictures_in_any(tuned, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(settling, "choose", lambda found: seen.append(found) or choose(found))
    model, _ = build(tuned(tune=None))
    text = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "text.jsonl").write_text(json.dumps({"messages": text}))
    recipe = tuned()
    files = [*recipe.data.model_dump()["files"], {"path": str(tmp_path / "text.jsonl")}]
    settled(Recipe.model_validate(recipe.model_dump() | {"data": {"files": files}}))
    settled(Recipe.model_validate(recipe.model_dump() | {"data": {"files": files[1:]}}))
    assert [(one.rows, one.pictures) for one in seen] == [(41, True), (1, False)]
    tower = sum(p.numel() for p in model.vision_encoder.parameters())
    assert seen[0].frozen == tower
    assert seen[0].tuned == sum(p.numel() for p in model.parameters()) - tower


def console():
    return Console(file=io.StringIO(), width=200)


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_resumed_run_tunes_what_it_tuned_whatever_the_rule_says_now(tuned, tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="the extra [train] is not installed")
    said = console()
    train(tuned(), tmp_path / "run", console=said)
    assert "tuning: lora rank 16, because 40 rows are few beside" in said.file.getvalue()
    saved = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert (saved.tune.what, saved.model.lora.rank) == ("lora", 16)
    longer = {"stages": [{"kind": "instruct", "steps": 4}]}
    train(tuned(**longer), tmp_path / "whole", console=console())
    monkeypatch.setattr(settling, "choose", lambda found: TuneSection(what="full", because="now it is another"))
    train(tuned(**longer), tmp_path / "run", resume=True, console=console())
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert load_recipe(tmp_path / "run" / "recipe.yaml").tune == saved.tune


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"tune": "some"}, r"tune\.what"),
        ({"tune": "lora", "model": {"checkpoint": "x", "new_words": 3}}, r"tune: lora does not: make it full"),
        ({"tune": "auto", "model": {"preset": next(iter(PRESETS))}}, r"a fresh model has nothing to tune"),
        ({"tune": "auto", "model": {"checkpoint": "x", "lora": {}}}, r"tune and model\.lora both"),
        ({"tune": {"what": "full", "rank": 4}}, r"tune\.rank is LoRA's, which tune: full is not"),
        (
            {"tune": "auto", "stages": [{"kind": "joint", "steps": 1}]},
            r"stage joint trains the tower, .*leave tune out",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(tuned, sections, message):
    with pytest.raises(ValueError, match=message):
        tuned(**sections)


def test_applying_changes_nothing_else(tuned):
    before = tuned()
    after = applied(before, TuneSection(what="full", because="so"))
    assert after.model_copy(update={"tune": before.tune}) == before


def test_a_run_does_not_go_on_tuning_something_else(tuned, tmp_path, monkeypatch):
    save_recipe(settled(tuned(tune="projector")), tmp_path / "recipe.yaml")
    with pytest.raises(ValueError, match=r"the run to resume has another tune \(projector\): give another --out"):
        settled(tuned(tune="full"), tmp_path / "recipe.yaml")
    assert settled(tuned(tune="projector"), tmp_path / "recipe.yaml").tune.what == "projector"
    before = settled(tuned(tune={"what": "auto", "rank": 8}))
    assert (before.tune.what, before.tune.rank, before.model.lora.rank) == ("lora", 8, 8)
    save_recipe(before, tmp_path / "auto.yaml")
    assert settled(tuned(tune={"what": "auto", "rank": 8}), tmp_path / "auto.yaml").tune == before.tune
    with pytest.raises(ValueError, match=r"the run to resume has another tune \(lora rank 8\)"):
        settled(tuned(tune={"what": "auto", "rank": 4}), tmp_path / "auto.yaml")


def test_a_model_with_a_large_tower_moves_no_faster_as_a_whole(tuned, monkeypatch):
    lr = tuned().train.lr
    assert settled(tuned(tune="joint")).train.lr == 5 * lr
    monkeypatch.setattr(settling, "SMALL_TOWER", 1)
    assert settled(tuned(tune="joint")).train.lr == lr
    assert settled(tuned(tune={"what": "joint", "fast": True})).train.lr == 5 * lr
    assert settled(tuned(tune={"what": "projector", "fast": False})).train.lr == lr
