"""A recipe is checked before anything is built, and what is wrong is said with its place."""

import pytest
import yaml

from sightline.config import PRESETS
from sightline.training.recipe_file import changes, check_same_run, is_saved_recipe, load_recipe, save_recipe

HEAD = "name: here\nmodel: {preset: sightline-tiny}\ndata: {world: {}}\n"
STAGES = "stages:\n  - {kind: tower, steps: 3}\n  - {kind: joint, name: end, samples: 10}\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(HEAD + STAGES)
    return file


def test_a_key_that_stands_twice_is_an_error_with_its_line(path):
    path.write_text(HEAD + "train: {lr: 0.0003}\n" + STAGES + "train: {batch_size: 8}\n")
    with pytest.raises(ValueError, match=r"'train' stands twice .*line 8"):
        load_recipe(path)
    path.write_text(HEAD + STAGES + "train: {{lr}}\n")
    with pytest.raises(ValueError, match="cannot be read as YAML"):
        load_recipe(path)


def test_a_rate_that_reaches_no_stage_is_an_error_that_names_those_that_would(path):
    own = ["stages.tower.train={lr: 0.1}", "stages.end.train={lr: 0.2}"]
    with pytest.raises(ValueError, match=r"reaches no stage.*give stages\.tower\.train\.lr and stages\.end\.train\.lr"):
        load_recipe(path, [*own, "train.lr=0.3"])
    assert load_recipe(path, [*own[:1], "train.lr=0.3"]).train.lr == 0.3
    own = [f"stages.{name}.train={{lr_scale: {{vision: 1}}, skip_spikes: {{factor: 4}}}}" for name in ("tower", "end")]
    for key in ("lr_scale.vision", "lr_scale.language", "skip_spikes.factor"):
        with pytest.raises(ValueError, match=r"reaches no stage"):
            load_recipe(path, [*own, f"train.{key}=2"])
    assert load_recipe(path, [*own, "train.skip_spikes.window=9"]).train.skip_spikes.window == 9


def test_a_tokenizer_is_made_for_fresh_models_alone(path):
    assert load_recipe(path, ["tokenizer.vocab_size=999"]).tokenizer.vocab_size == 999
    with pytest.raises(ValueError, match="tokenizer is for a fresh model"):
        load_recipe(path, ["tokenizer.vocab_size=999", "model={checkpoint: here}"])


def test_what_a_run_goes_on_with_otherwise_is_said(path):
    before, now = load_recipe(path), load_recipe(path, ["train.lr=0.1", "stages.end.samples=12"])
    assert changes(now, before) == [f"train.lr: 0.1, before {before.train.lr}", "stages.end.samples: 12, before 10"]
    assert changes(before, before) == []


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
        ("train.seed=[", r"cannot be read as YAML"),
        ("train.seed=-1", r"train\.seed: .*greater than or equal to 0"),
        ("train.step=4", r"train\.step is no key of a recipe$"),
        ("data.files=[{pth: x}]", r"data\.files\.0\.pth is no key of a recipe; did you mean 'path'\?"),
        ("stages.end.step=4", r"stages\.1\.step is no key of a recipe; did you mean 'steps'\?"),
        ("data.world.mix={colours: 1}", r"data\.world\.mix: unknown kind 'colours': did you mean 'colour'\?"),
        ("data.world.mix={colour: -1}", r"data\.world\.mix\.colour: .*greater than or equal to 0"),
        ("data.world.layouts={gird: 1}", r"data\.world\.layouts: unknown layout 'gird': did you mean 'grid'\?"),
        ("stages.end.data={world: {mix: {lst: 1}}}", r"stages\.end\.data\.world\.mix: unknown kind 'lst'"),
        ("data.world.things=99999", r"data\.world\.things: the atlas has \d+ things, not 99999"),
        ("train.accumulate=2", r"stage tower: a step of regions is one batch"),
        ("model.overrides.hiden_size=9", r"model\.overrides: .* no field 'hiden_size'; did you mean 'hidden_size'\?"),
        (
            "model.overrides.vision_config.num_hiden_layers=3",
            r"model\.overrides\.vision_config\.num_hiden_layers is no field .*; did you mean 'num_hidden_layers'\?",
        ),
        ("model.overrides.vision_config=3", r"model\.overrides\.vision_config takes a mapping .*, not 3"),
        ("model.overrides.vision_config.hidden_size=wide", r"model\.overrides: .*'hidden_size' expected int"),
        ("model.overrides.vision_config.patch_size=225", r"model\.overrides: image_size=224 is less than"),
        ("model.overrides.vision_config.model_type=clop", r"model\.overrides: .* no model_type='clop'"),
        ("train.accumulate=3", r"batch_size 32 is no multiple of accumulate 3"),
        ("train.beta1=2", r"train\.beta1: is a share between 0 and 1"),
        ("stages.end.steps=3", r"exactly one of steps, samples, tokens and minutes, not \['steps', 'samples'\]"),
        ("stages.end.samples=null", r"exactly one of steps, samples, tokens and minutes, not none"),
        ("stages.end.kind=jont", r"stages\.1\.kind: .*'joint'"),
        ("stages.end.name=tower", r"two stages have one name: tower, tower"),
        ("stages.end.train.batchsize=1", r"stages\.end\.train\.batchsize is no key of a recipe; did you mean"),
        ("stages.end.data={world: {thing: 3}}", r"stages\.end\.data\.world\.thing is no key.*'things'"),
        ("stages.end.objective=words", r"stages\.1: .*objective: words is for a tower stage: leave it out"),
        ("stages.tower.trains=[language]", r"a contrastive tower stage trains vision alone, not language"),
        ("stages.tower.data={files: [{path: x}]}", r"stage tower: its samples come from the built-in world"),
        ("data.held_out=1.5", r"data\.held_out: is auto, or a share from 0 up to, but not, 1: 1\.5 is neither"),
        ("data.held_out=1", r"data\.held_out: is auto, or a share .*: 1 is neither"),
        ("data.held_out=some", r"data\.held_out: is auto, or a share .*: 'some' is neither"),
        ("data.files=[{path: x, held_out: 20}]", r"data\.files\.0\.held_out: is auto, or a share"),
        ("train.lr_scale={vision: -1}", r"train\.lr_scale\.vision: .*greater than or equal to 0"),
        ("train.lr=.inf", r"train\.lr: .*finite number"),
        ("train.muon_lr=.nan", r"train\.muon_lr: "),
        ("model={vision: a, language: b, overrides: {projecter_type: x}}", r"projecter_type cannot .*'projector_type'"),
        (
            "model={vision: a, language: b, overrides: {vocab: 9}}",
            r"vocab cannot be overridden, .*; what can is aux_loss",
        ),
        ("train.early_stopping={patiens: 2}", r"train\.early_stopping\.patiens is no key .*'patience'"),
        ("train.early_stopping={by: luck}", r"train\.early_stopping\.by: .*'accuracy'"),
        ("train.early_stopping={}", r"stage tower: early_stopping needs rows that are held out: give data\.files"),
    ],
)
def test_a_wrong_key_or_value_names_its_place(path, override, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(path, [override])
    assert "\n" not in str(caught.value)


LEARNS = "stages=[{kind: joint, steps: 1}, {kind: instruct, steps: 1}]"
ROWS = ["data.files=[{path: x}]", LEARNS]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["data.held_out=0"], "needs rows that are held out"),
        ([], "needs train.eval_every, the steps from look to look"),
        (
            ["train.eval_every=1", "train.eval_per_kind=0", "train.early_stopping.by=accuracy"],
            "asks questions: set train.eval_per_kind",
        ),
        (["train.eval_every=1", "train.ema=0.9"], "ema ends a stage with an average of all: leave one of them out"),
        (["train.eval_every=1", "stages.joint.data={files: [{path: x, held_out: 0.3}]}"], "divided in another way"),
        (["train.eval_every=1", "stages.joint.data.held_out=0.3"], "divided in another way"),
    ],
)
def test_early_stopping_needs_what_it_looks_at(path, given, message):
    with pytest.raises(ValueError, match=rf"stage \w+: .*{message}"):
        load_recipe(path, [*ROWS, "train.early_stopping.patience=2", *given])


def test_a_file_takes_the_share_of_its_section_unless_it_has_one(path, tmp_path):
    recipe = load_recipe(path, ["data.held_out=0.2", "data.files=[{path: x}, {path: y, held_out: 0}]", LEARNS])
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml") == recipe
    changed = load_recipe(tmp_path / "saved.yaml", ["data.held_out=0.3"])
    assert [held_out_by(recipe, stage) for stage in recipe.stages] == [[0.2, 0]] * 2
    assert [held_out_by(changed, stage) for stage in changed.stages] == [[0.3, 0]] * 2
    assert load_recipe(path, ROWS).data_of(recipe.stages[0]).files[0].held_out == "auto"


def held_out_by(recipe, stage):
    return [file.held_out for file in recipe.data_of(stage).files]


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "1.e-5", "+1e-05", ".00001"])
def test_a_number_with_an_exponent_is_a_number_even_where_nothing_is_typed(path, tmp_path, text):
    recipe = load_recipe(path, [f"model.overrides.rms_norm_eps={text}", "name='1e5'"])
    assert recipe.model.overrides == {"rms_norm_eps": 1e-5}
    assert recipe.name == "1e5"
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml") == recipe


def test_whole_numbers_stay_whole(path):
    assert type(load_recipe(path, ["model.overrides.hidden_size=64"]).model.overrides["hidden_size"]) is int


def test_an_override_of_the_tower_keeps_the_rest_of_the_presets(path):
    fields = load_recipe(path, ["model.overrides.vision_config.num_hidden_layers=3"]).model.fresh_fields()
    preset = PRESETS["sightline-tiny"]
    assert fields == preset | {"vision_config": preset["vision_config"] | {"num_hidden_layers": 3}}
    assert preset["vision_config"]["num_hidden_layers"] == 10


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
        ("stages.end.train={optimizer: adamw}", r"stages\.end\.train\.optimizer"),
        ("stages.end.data={world: {questions: 3}}", r"stages\.end\.data"),
        ("stages=[{kind: tower, steps: 3}]", r"stages\.end"),
    ],
)
def test_a_run_does_not_go_on_as_another(path, override, named):
    with pytest.raises(ValueError, match=rf"the run to resume has another {named}: give another --out"):
        check_same_run(load_recipe(path, [override]), load_recipe(path))


@pytest.mark.parametrize(("key", "value"), [("early_stopping", {"patience": 2}), ("ema", 0.5)])
def test_a_run_does_not_go_on_without_what_may_have_ended_a_stage(path, key, value):
    given = [f"train.{key}={value}", "train.eval_every=1", "data.files=[{path: x}]"]
    shared = "stages=[{kind: joint, name: end, steps: 1}]"
    saved = load_recipe(path, [*given, shared])
    check_same_run(saved, saved)
    with pytest.raises(ValueError, match=rf"has another stages\.end\.train\.{key}: give another --out"):
        check_same_run(load_recipe(path, [*given[1:], shared]), saved)


@pytest.mark.parametrize(
    "override",
    [
        "train.lr=0.1",
        "stages.end.samples=99",
        "train.checkpoint_every=7",
        "stages=[{kind: tower, steps: 3}, {kind: joint, name: end, samples: 10}, {kind: joint, steps: 1}]",
    ],
)
def test_a_run_may_go_on_with_other_rates_and_longer(path, override):
    check_same_run(load_recipe(path, [override]), load_recipe(path))


def test_files_may_lie_elsewhere_but_weigh_the_same(path):
    def reading(place, weight):
        both = "stages=[{kind: joint, steps: 1}, {kind: instruct, steps: 1}]"
        where = f"path: {place}/rows.jsonl, image_folder: {place}, validation: {place}/held.jsonl"
        files = f"[{{{where}, weight: {weight}}}]"
        return load_recipe(path, [both, f"data.files={files}", f"stages.joint.data.files={files}"])

    check_same_run(reading("here", 2), reading("there", 2))
    with pytest.raises(ValueError, match="has another data: give"):
        check_same_run(reading("here", 2), reading("there", 3))


def test_a_stage_is_found_by_its_name_before_its_kind(path):
    given = ["stages=[{kind: joint, name: warm, steps: 10}, {kind: joint, steps: 9}]", "stages.joint.steps=5"]
    assert [stage.steps for stage in load_recipe(path, given).stages] == [10, 5]


def test_what_a_short_word_stands_for_can_be_overridden(path):
    path.write_text(HEAD.replace("preset:", "checkpoint:") + "tune: auto\nstages: [{kind: instruct, steps: 3}]\n")
    assert load_recipe(path, ["tune.what=lora", "tune.rank=8"]).tune.rank == 8


def test_what_is_said_of_files_is_said_of_those_that_data_names_in_any_order(path):
    path.write_text(HEAD.replace("{world: {}}", "{files: [{path: x}]}") + "stages: [{kind: instruct, steps: 3}]\n")
    (file,) = load_recipe(path, ["data.files.0.metric=anls", "data=mine.jsonl"]).data.files
    assert (file.path, file.metric) == ("mine.jsonl", "anls")


def test_only_what_a_run_saved_is_taken_for_a_runs_recipe(path, tmp_path):
    assert not is_saved_recipe(path)
    assert not is_saved_recipe(tmp_path / "none.yaml")
    save_recipe(load_recipe(path), tmp_path / "saved.yaml")
    assert is_saved_recipe(tmp_path / "saved.yaml")


def test_files_that_reach_no_stage_are_an_error_that_names_those_that_would(path):
    own = ["stages.tower.data={files: []}", "stages.end.data={files: [{path: old.jsonl}]}"]
    with pytest.raises(ValueError, match=r"reaches no stage.*stages\.tower\.data\.files and stages\.end\.data\.files"):
        load_recipe(path, [*own, "data.files=[{path: new.jsonl}]"])
    assert load_recipe(path, [own[0], "data.files=[{path: new.jsonl}]"]).data.files[0].path == "new.jsonl"
    worlds = [f"stages.{name}.data={{world: {{languages: [en]}}}}" for name in ("tower", "end")]
    assert load_recipe(path, [*worlds, "data.world.languages=[zh]"])  # the tokenizer's
