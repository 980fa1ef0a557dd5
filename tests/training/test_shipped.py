"""A recipe that ships is found by its name, and `data=DATA` makes it learn from these rows."""

import json
import subprocess
import sys
import tomllib
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from sightline.cli import main
from sightline.training import shipped
from sightline.training.recipe_file import load_recipe
from sightline.training.shipped import find_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]


def test_every_recipe_is_found_by_its_name_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(shipped_recipes()) == {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    assert load_recipe("finetune") == load_recipe(ROOT / "recipes" / "finetune.yaml")


def test_an_installed_package_finds_the_recipes_inside_itself(tmp_path, monkeypatch):
    (tmp_path / "site" / "sightline" / "recipes").mkdir(parents=True)
    (tmp_path / "site" / "sightline" / "recipes" / "mine.yaml").write_text("name: mine")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path / "site" / package)
    assert list(shipped_recipes()) == ["mine"]


def test_the_built_package_carries_the_recipes():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["force-include"] == {"recipes": "sightline/recipes"}


@pytest.mark.slow
def test_a_wheel_holds_the_recipes_and_their_logs(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {f"sightline/recipes/{path.name}" for path in (ROOT / "recipes").iterdir()} <= set(names)


def test_a_file_of_the_name_goes_before_the_recipe_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("finetune").write_text("name: mine")
    assert find_recipe("finetune") == Path("finetune")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"no recipe 'finetun'; did you mean 'finetune'.*clip-smollm2, .*tiny"):
        find_recipe("finetun")
    with pytest.raises(FileNotFoundError, match=r"there is no recipe at recipes/finetun\.yaml$"):
        find_recipe("recipes/finetun.yaml")


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ("photos", [("photos", 1.0)]),
        ("2024", [("2024", 1.0)]),
        ("hub:someone/set@train", [("hub:someone/set@train", 1.0)]),
        ("photos*2", [("photos", 1.0)]),
        ("~/photos", [(str(Path.home() / "photos"), 1.0)]),
        ("a*3, b.jsonl", [("a", 0.75), ("b.jsonl", 0.25)]),
        ("a*0.5,b*1.5", [("a", 0.25), ("b", 0.75)]),
    ],
)
def test_data_is_short_for_the_files_that_are_read(given, files):
    data = load_recipe("finetune", [f"data={given}"]).data
    assert [(file.path, file.weight) for file in data.files] == files
    assert data.world == load_recipe("finetune").data.world


def test_a_name_that_looks_like_a_mixture_is_taken_as_what_lies_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cats, dogs").mkdir()
    Path("five*2").mkdir()
    paths = [
        [file.path for file in load_recipe("finetune", [f"data={one}"]).data.files] for one in ("cats, dogs", "five*2")
    ]
    assert paths == [["cats, dogs"], ["five*2"]]


def test_data_takes_the_place_of_the_stages_own_files_too():
    recipe = load_recipe("clip-smollm2", ["data=mine"])
    assert [[file.path for file in recipe.data_of(stage).files] for stage in recipe.stages] == [["mine"], ["mine"]]


def test_how_a_file_is_read_can_be_said_beside_it():
    data = load_recipe("finetune", ["data=mine", "data.files.0.question_column=q"]).data
    assert (data.files[0].path, data.files[0].question_column) == ("mine", "q")
    with pytest.raises(ValueError, match=r"'3' in the override .* is no section"):
        load_recipe("finetune", ["data.files.3.prompt=Why?"])


@pytest.mark.parametrize("given", ["", "*2", "a*0,b", "a*-1", "a,,b", "a*many", "a*inf"])
def test_a_mixture_that_cannot_be_meant_is_one_line(given):
    with pytest.raises(ValueError, match=r"data= takes PATH or PATH\*WEIGHT") as caught:
        load_recipe("finetune", [f"data={given}"])
    assert "\n" not in str(caught.value)


def test_a_mapping_is_still_the_whole_section():
    data = load_recipe("finetune", ["data={files: [{path: here}]}"]).data
    assert data.world is None
    assert [file.path for file in data.files] == ["here"]


def test_train_goes_by_name_and_data_as_the_help_says(tmp_path, monkeypatch, capsys):
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "This."}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr("sightline.training.loop.train", lambda recipe, out, resume: seen.append((recipe, out)))
    assert main(["train", "finetune", "data=rows.jsonl"]) == 0
    ((recipe, out),) = seen
    assert (recipe.data.files[0].path, out) == ("rows.jsonl", Path("runs/finetune"))
    assert main(["train", "finetun", "data=rows.jsonl"]) in (1, 2)
    assert "what ships is" in capsys.readouterr().err
    assert main(["train", "--help"]) == 0
    assert "sightline train finetune data=" in capsys.readouterr().out


def test_no_package_data_is_no_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "files", lambda package: tmp_path / "a" / "b" / package)
    assert shipped.shipped_recipes() == {}
