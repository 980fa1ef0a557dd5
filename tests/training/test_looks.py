"""A run without the built-in world is looked at too: with its own first rows, and the figures say so."""

import io
import json
from dataclasses import asdict

import pytest
from rich.console import Console

from sightline.evaluation.results import Answer, Results
from sightline.training import looks as module
from sightline.training.build import build
from sightline.training.judging import Verdict
from sightline.training.looks import Looks
from sightline.training.loop import train
from sightline.training.report import write_report

CAVEAT = "on rows it trains on: fit, not skill"


def row(question, answer, *images):
    content = [{"type": "image"}] * len(images) + [{"type": "text", "text": question}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "images": list(images)}


@pytest.fixture
def of_rows(make_recipe, tmp_path, picture):
    """A recipe that reads these rows alone."""
    (tmp_path / "a.png").write_bytes(picture.read_bytes())

    def make(*rows, stages=({"kind": "joint", "steps": 4},), **train):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        data = {"world": {"weight": 0}, "files": [{"path": str(path)}]}
        return make_recipe(data=data, stages=list(stages), train={"eval_per_kind": 1, **train})

    return make


@pytest.fixture
def looked(tmp_path):
    def look_with(recipe):
        console = Console(file=io.StringIO(), width=200)
        (tmp_path / "run").mkdir(exist_ok=True)
        return Looks(recipe, *build(recipe), console, tmp_path / "run"), console.file

    return look_with


def test_the_first_rows_are_asked_and_the_figures_say_that_they_are_trained_on(of_rows, looked, tmp_path, monkeypatch):
    looks, shown = looked(of_rows(*(row(f"What is {n}?", f"It is {n}.", "a.png") for n in range(9))))
    looks.remember()
    assert len(json.loads((tmp_path / "run" / "first_answers.json").read_text(encoding="utf-8"))["rows"]) == module.ROWS

    def right(model, processor, tasks):
        questions = [tasks.question(key) for key in tasks.keys]
        return [(one, Answer(*one.key, one.text, one.truths[0], one.truths[0], 1.0)) for one in questions]

    monkeypatch.setattr(module, "ask", right)
    assert looks.look("joint, step 2") == (1.0, None)
    lines = shown.getvalue().splitlines()
    assert lines[0].startswith("joint, step 2: 100.0")
    assert CAVEAT in lines[0]
    examples = looks.examples()
    assert [one.question for one in examples] == [f"What is {n}?" for n in range(4)]
    assert all(one.before is not None and len(one.pictures) == 1 for one in examples)
    page = write_report(tmp_path, recipe_yaml="name: x", records=[], verdict=Verdict(looks.results, examples=examples))
    text = page.read_text(encoding="utf-8")
    assert f"Accuracy {CAVEAT}" in text
    assert f"4 questions right {CAVEAT}" in text


def test_what_is_learned_by_heart_is_looked_at_as_often_as_the_recipe_asks(of_rows, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    train(of_rows(row("What?", "A.", "a.png"), row("Why?", "B."), eval_every=2), tmp_path / "run", console=console)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log if "accuracy" in record] == [2, 4]
    assert console.file.getvalue().count(CAVEAT) == 2
    assert CAVEAT in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_rows_that_ask_nothing_are_passed_over(of_rows, looked):
    told = {"messages": [{"role": "assistant", "content": "Once upon a time."}]}
    looks, _ = looked(of_rows(told, row("What?", "A."), told))
    assert [one.question for one in looks.examples()] == ["What?"]
    looks, shown = looked(of_rows(told, told))
    assert "none of the first 4 rows" in shown.getvalue()
    assert looks.look("joint, step 1") is None
    assert looks.examples() == []


def test_held_out_rows_that_cannot_be_scored_are_told_with_the_reason(of_rows, looked):
    rows = [row(f"What is {n}?", str(n)) | {"answers": [n]} for n in range(40)]
    recipe = of_rows(*rows)
    files = [file.model_copy(update={"held_out": 0.5}) for file in recipe.data.files]
    data = recipe.data.model_copy(update={"files": tuple(files)})
    looks, shown = looked(recipe.model_copy(update={"data": data}))
    assert looks.held_out is None
    assert looks.passed_over.rows == sum(len(sides.held_out) for sides in looks.sides) > 5
    assert "no held-out row can be scored, so that at most their loss is looked at" in shown.getvalue()
    assert "'answers' is a list of texts, but is [" in shown.getvalue()


def test_the_metric_of_a_file_decides_what_is_right(of_rows, looked):
    recipe = of_rows(*(row(f"What is {n}?", "A duck.") for n in range(40)))
    files = [file.model_copy(update={"held_out": 0.5, "metric": "anls"}) for file in recipe.data.files]
    looks, _ = looked(recipe.model_copy(update={"data": recipe.data.model_copy(update={"files": tuple(files)})}))
    question = looks.held_out.question(looks.held_out.keys[0])
    assert question.metric == "anls"
    assert 0 < question.score("A luck.") < 1


def test_no_questions_are_asked_where_the_recipe_wants_none(of_rows, looked):
    looks, _ = looked(of_rows(row("What?", "A."), eval_per_kind=0))
    assert looks.look("joint, step 1") is None


def test_more_first_answers_than_questions_are_no_error(of_rows, looked, tmp_path):
    looks, _ = looked(of_rows(row("What?", "A."), row("Why?", "B.")))
    path = tmp_path / "run" / "first_answers.json"
    keys = [*looks.rows.keys, looks.rows.keys[0]._replace(number=7)]
    said = zip(keys, ["one", "two", "three"], strict=True)
    first = [asdict(Answer(*key, "?", "A.", text, 0.0)) for key, text in said]
    path.write_text(json.dumps({"rows": first}))
    assert [one.before for one in looks.examples()] == ["one", "two"]
    path.write_text(json.dumps(["one", "two"]))  # as older runs have kept them
    assert looks.first().examples == ["one", "two"]
    path.write_text(json.dumps({"rows": first[:1]}))
    assert [one.before for one in looks.examples()] == ["one", None]


def test_first_answers_are_written_whole(of_rows, looked, monkeypatch, tmp_path):
    looks, _ = looked(of_rows(row("What?", "A.")))
    written = []
    monkeypatch.setattr(module, "write_whole", lambda path, text: written.append(path))
    looks.remember()
    assert written == [tmp_path / "run" / "first_answers.json"]
    assert not written[0].exists()


def test_a_caveat_stands_with_the_figures():
    answers = [Answer("k", "en", 0, "q", "t", "a", 1.0)]
    assert str(Results(answers, CAVEAT)).endswith(f"% of 1 {CAVEAT}: k 100")
    assert Results(answers, CAVEAT).summary().startswith(f"100.0 % of 1 questions right {CAVEAT} (95 %")
    assert Results(answers).summary().startswith("100.0 % of 1 questions right (95 %")


def test_two_pictures_are_asked_about_only_where_the_model_has_room_for_them(make_recipe, looked):
    looks, _ = looked(make_recipe(model={"overrides": {"max_position_embeddings": 256}}, train={"eval_per_kind": 1}))
    assert "added" not in looks.kinds
    assert {"name", "count_all"} <= set(looks.kinds)
    looks.model.config.max_position_embeddings = 512
    assert "added" in looks.kinds
