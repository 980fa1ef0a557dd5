"""A recipe is checked before anything is built, and what is wrong is said with its place."""

import pytest
import yaml

from sightline.training.recipe_file import check_same_run, load_recipe, save_recipe

HEAD = "name: here\nmodel: {preset: sightline-tiny}\ndata: {world: {}}\n"
STAGES = "stages:\n  - {kind: tower, steps: 3}\n  - {kind: joint, name: end, samples: 10}\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(HEAD + STAGES)
    return file


def test_defaults_fill_what_the_file_leaves_out(path):
    recipe = load_recipe(path)
    assert (recipe.name, recipe.stages[1].samples, recipe.data.world.languages) == ("here", 10, ("en", "zh"))
    assert [stage.name for stage in recipe.stages] == ["tower", "end"]


def test_an_override_replaces_the_files_value(path):
    given = [
        "train.batch_size=4",
        "data.world.languages=[zh]",
        "model.overrides.hidden_size=64",
        "stages.end.samples=3",
    ]
    recipe = load_recipe(path, given)
    assert (recipe.train.batch_size, recipe.data.world.languages) == (4, ("zh",))
    assert recipe.model.overrides == {"hidden_size": 64}
    assert recipe.stages[1].samples == 3


def test_a_stage_replaces_single_values_of_the_runs_data_and_optimisation(path):
    given = ["train.lr=0.5", "data.world.things=9", "stages.tower.train={lr: 0.1}", "stages.end.data.world.questions=2"]
    recipe = load_recipe(path, given)
    tower, end = recipe.stages
    assert (recipe.optimisation_of(tower).lr, recipe.optimisation_of(end).lr) == (0.1, 0.5)
    assert (recipe.data_of(end).world.things, recipe.data_of(end).world.questions) == (9, 2)
    assert recipe.data_of(tower).world.questions == 8


@pytest.mark.parametrize(
    ("kind", "trains"),
    [
        ("tower", ("vision",)),
        ("language", ("language",)),
        ("align", ("projector",)),
        ("instruct", ("projector", "language")),
        ("joint", ("vision", "projector", "language")),
    ],
)
def test_each_kind_of_stage_trains_its_parts(path, kind, trains):
    recipe = load_recipe(path, [f"stages=[{{kind: {kind}, minutes: 1}}]"])
    assert recipe.stages[0].trains == trains


def test_a_captioning_tower_stage_trains_through_the_language_model(path):
    recipe = load_recipe(path, ["stages=[{kind: tower, objective: captioning, tokens: 5}]"])
    assert recipe.stages[0].trains == ("vision", "projector", "language")
    assert not recipe.stages[0].is_contrastive


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batchsize=4", r"train\.batchsize is no key of a recipe; did you mean 'batch_size'\?"),
        ("trian.batch_size=4", r"trian is no key of a recipe; did you mean 'train'\?"),
        ("train.batch_size=many", r"train\.batch_size: .*integer"),
        ("train.batch_size", r"reads section\.key=value"),
        ("name.batch_size=4", r"'name' in the override .* is no section"),
        ("stages.nowhere.steps=4", r"'nowhere' in the override .* is no section"),
        ("stages=3", r"stages: "),
        ("model.preset=huge", r"no preset 'huge'"),
        ("model.checkpoint=here", r"exactly one of preset, checkpoint"),
        ("model={vision: here}", r"vision and language go together"),
        ("model={preset: sightline-tiny, upcycle: {}}", r"upcycle needs a checkpoint"),
        ("model={checkpoint: here, overrides: {hidden_size: 3}}", r"a checkpoint is taken as it is"),
        ("model.lora={rank: 4}", r"LoRA leaves the tower as it is"),
        ("model.overrides.vocab_size=9", r"vocab_size cannot be overridden"),
        ("model.overrides.freeze_vision=true", r"freeze_vision cannot be overridden"),
        ("data.world.languages=[fr]", r"data\.world\.languages\.0: .*'en' or 'zh'"),
        ("data={}", r"data: there is nothing to read"),
        ("train.seed=[", r"is not YAML"),
        ("train.accumulate=3", r"batch_size 32 is no multiple of accumulate 3"),
        ("train.beta1=2", r"train\.beta1: is a share between 0 and 1"),
        ("stages.end.steps=3", r"exactly one of steps, samples, tokens and minutes, not \['steps', 'samples'\]"),
        ("stages.end.samples=null", r"exactly one of steps, samples, tokens and minutes, not none"),
        ("stages.end.kind=jont", r"stages\.1\.kind: .*'joint'"),
        ("stages.end.name=tower", r"two stages have one name: tower, tower"),
        ("stages.end.train.batchsize=1", r"stages\.end\.train\.batchsize is no key of a recipe; did you mean"),
        ("stages.end.data={world: {thing: 3}}", r"stages\.end\.data\.world\.thing is no key.*'things'"),
        ("stages.tower.trains=[language]", r"a contrastive tower stage trains vision alone, not language"),
        ("stages.tower.data={files: [{path: x}]}", r"stage tower: its samples come from the built-in world"),
    ],
)
def test_a_wrong_key_or_value_names_its_place(path, override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(path, [override])


@pytest.mark.parametrize("text", ["- a list", "{unclosed: ", "just words"])
def test_a_file_that_is_no_mapping_is_an_error(tmp_path, text):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml"):
        load_recipe(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recipe at .*nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_a_saved_recipe_loads_as_itself(path, tmp_path):
    recipe = load_recipe(path, ["train.skip_spikes={factor: 4}", "stages.end.train={ema: 0.9}"])
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml") == recipe
    assert yaml.safe_load((tmp_path / "saved.yaml").read_text())["train"]["batch_size"] == 32


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.world.things=5", "data"),
        ("train.seed=5", r"train\.seed"),
        ("stages.end.train={batch_size: 5}", r"stages\.end\.train\.batch_size"),
        ("stages.end.trains=[projector]", r"stages\.end\.trains"),
    ],
)
def test_a_run_does_not_go_on_as_another(path, override, named):
    with pytest.raises(ValueError, match=rf"the run to resume has another {named}: give another --out"):
        check_same_run(load_recipe(path, [override]), load_recipe(path))


@pytest.mark.parametrize("override", ["train.lr=0.1", "stages.end.samples=99", "train.checkpoint_every=7"])
def test_a_run_may_go_on_with_other_rates_and_longer(path, override):
    check_same_run(load_recipe(path, [override]), load_recipe(path))
