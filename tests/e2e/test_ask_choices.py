"""`sightline ask --choices`: answers weighed, as the engine does it."""

import json

import pytest

from sightline.cli import main


@pytest.fixture
def ask(tiny_model_folder, capsys):
    def run(*words):
        code = main(["ask", *map(str, words), "--model", str(tiny_model_folder)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_choices_have_the_probabilities_that_the_engine_gives(ask, picture, tiny_model_folder):
    from PIL import Image

    from sightline.engine.engine import Engine
    from sightline.interop.load import load

    code, out, _ = ask(picture, "Is it red?", "--choices", "yes, no,一只鸭子", "--json")
    assert code == 0
    given = json.loads(out)["choices"]
    content = [{"type": "image", "image": Image.open(picture)}, {"type": "text", "text": "Is it red?"}]
    with Engine(*load(str(tiny_model_folder))) as engine:
        scores = engine.score([{"role": "user", "content": content}], ["yes", "no", "一只鸭子"])
    assert [one["text"] for one in given] == ["yes", "no", "一只鸭子"]
    assert [one["probability"] for one in given] == pytest.approx([one.probability for one in scores])
    assert [one["logprob"] for one in given] == pytest.approx([one.logprob for one in scores])
    assert sum(one["probability"] for one in given) == pytest.approx(1)


def test_the_table_has_the_likeliest_first_in_columns_of_one_width(ask, picture):
    given = json.loads(ask(picture, "Is it red?", "--choices", "yes,no,鸭子", "--json")[1])["choices"]
    lines = ask(picture, "Is it red?", "--choices", "yes,no,鸭子")[1].splitlines()
    best_first = sorted(given, key=lambda one: -one["probability"])
    assert [line.split()[0] for line in lines] == [one["text"] for one in best_first]
    assert [line.split()[1] for line in lines] == [f"{one['probability']:.1%}" for one in best_first]
    # Two Chinese characters take four columns of a terminal.
    assert {len(line) + (2 if "鸭子" in line else 0) for line in lines} == {len("鸭子") + 2 + 2 + len(" 99.9%")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--choices", "yes,,no"], "answers with commas between them"),
        (["--choices", ""], "answers with commas between them"),
        (["--choices", "yes, yes"], "two alike"),
        (["--choices", "yes,no", "--temperature", "0"], "--temperature says nothing beside --choices"),
        (["--choices", "yes,no", "--max-new-tokens", "4"], "--max-new-tokens says nothing beside --choices"),
        (["--choices", "yes,no", "--seed", "1"], "--seed says nothing beside --choices"),
        (["--choices", "yes,no", "--stats"], "--stats says nothing beside --choices"),
        (["--show", "--json"], "--show says nothing beside --json"),
    ],
)
def test_choices_that_cannot_be_weighed_are_one_line_and_exit_code_2(capsys, options, message):
    assert main(["ask", "What?", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
