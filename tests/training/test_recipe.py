"""A recipe is checked before anything is built, and what is wrong is said with its place."""

import pytest
import yaml

from sightline.training.recipe import load_recipe, save_recipe


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("name: here\ntrain:\n  pictures: 10\n")
    return file


def test_defaults_fill_what_the_file_leaves_out(path):
    recipe = load_recipe(path)
    assert (recipe.name, recipe.train.pictures, recipe.data.languages) == ("here", 10, ("en", "zh"))


def test_an_override_replaces_the_files_value(path):
    recipe = load_recipe(path, ["train.batch_size=4", "data.languages=[zh]", "model.overrides.hidden_size=64"])
    assert (recipe.train.batch_size, recipe.data.languages) == (4, ("zh",))
    assert recipe.model.overrides == {"hidden_size": 64}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batchsize=4", r"train\.batchsize is no key of a recipe; did you mean 'batch_size'\?"),
        ("trian.batch_size=4", r"trian is no key of a recipe; did you mean 'train'\?"),
        ("train.batch_size=many", r"train\.batch_size: .*integer"),
        ("train.batch_size", r"reads section\.key=value"),
        ("name.batch_size=4", r"'name' in the override .* is no section"),
        ("model.preset=huge", r"no preset 'huge'"),
        ("model.overrides.vocab_size=9", r"vocab_size cannot be overridden"),
        ("model.overrides.freeze_vision=true", r"freeze_vision cannot be overridden"),
        ("data.languages=[fr]", r"data\.languages\.0: .*'en' or 'zh'"),
        ("train.seed=[", r"is not YAML"),
        ("train.curriculum=[{until: 0.5, grid_share: 1}]", r"end at 1\.0"),
        ("train.curriculum=[{until: 1.0, grid_share: 1}, {until: 0.5, grid_share: 1}]", r"must rise"),
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
    recipe = load_recipe(path, ["train.curriculum=[{until: 0.5, grid_share: 1}, {until: 1, grid_share: 0.2}]"])
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml") == recipe
    assert yaml.safe_load((tmp_path / "saved.yaml").read_text())["train"]["batch_size"] == 32


def test_the_shipped_recipe_is_valid():
    assert load_recipe("recipes/tiny.yaml").train.steps > 0
