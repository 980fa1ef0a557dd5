"""A run on rows of one's own is judged by rows that it has not seen, beside what it must beat."""

import io
import json
import re
import shutil
from collections import Counter

import pytest
from rich.console import Console

from sightline.data.pictures import look_at
from sightline.training.checkpoint import checkpoints
from sightline.training.holdout import judged_sides, sides_of_run
from sightline.training.loop import train
from sightline.training.sources import FileGroups, open_sources

from .colours import sections, write_colours


@pytest.fixture(scope="module")
def tuned(make_recipe, tmp_path_factory):
    """A run that learns colours, with its recipe, its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("colours")
    given = sections(
        write_colours(folder, count=60),
        batch_size=8,
        optimizer="adamw",
        lr=0.005,
        warmup_steps=5,
        schedule="constant",
        eval_per_kind=1,
        eval_every=10,
        checkpoint_every=1000,
        early_stopping={"patience": 4},
    )
    model = {"overrides": {"dropout": 0.0}}
    recipe = make_recipe(model=model, stages=[{"kind": "joint", "steps": 90}], **given)
    console = Console(file=io.StringIO(), width=200)
    train(recipe, folder / "run", console=console)
    return recipe, folder / "run", console.file.getvalue()


def report(run):
    return json.loads((run / "report.json").read_text(encoding="utf-8"))


def test_what_is_judged_by_is_never_trained_on(tuned):
    recipe, run, printed = tuned
    (sides,) = judged_sides(recipe)
    shown = {look_at(source).key for row in sides.held_out for source in row.images}
    asked = {row.where for row in sides.held_out}
    (source,), _ = open_sources(recipe, recipe.stages[0], 32)
    assert isinstance(source, FileGroups)
    trained = [row for group in range(len(source)) for row in map(source.rows.__getitem__, source.members(group))]
    assert not shown & {look_at(picture).key for row in trained for picture in row.images}
    assert not asked & {row.where for row in trained}
    assert len(asked) + len(trained) == 126
    assert f"data: {sides}" in printed
    assert report(run)["split"] == [sides.as_dict()]
    assert sides_of_run(recipe) == [sides]


def test_a_set_that_needs_its_pictures_collapses_without_them(tuned):
    judged = report(tuned[1])["held_out"]
    tuned_share, blind = judged["tuned"]["overall"], judged["without_picture"]["overall"]
    majority, before = judged["majority_answer"]["overall"], judged["before_tuning"]["overall"]
    assert tuned_share["low"] > max(blind["high"], majority["high"], before["high"])
    assert judged["what_the_picture_is_worth"] > 0.4
    for share in (tuned_share, blind, majority, before):
        assert share["low"] <= share["accuracy"] <= share["high"]


def test_the_majority_is_what_a_hand_would_count_on_the_training_side(tuned):
    recipe, run, _ = tuned
    (sides,) = judged_sides(recipe)

    def told(rows):
        return [
            (message["content"][-1]["text"], row.messages[-1]["content"][0]["text"])
            for row in rows
            for message in row.messages[:1]
        ]

    learned = told(sides.train)
    right = 0
    for question, answer in told(sides.held_out):
        counts = Counter(a for q, a in learned if q == question) or Counter(a for _, a in learned)
        right += answer == counts.most_common(1)[0][0]
    assert report(run)["held_out"]["majority_answer"]["overall"]["right"] == right


def test_rows_of_words_alone_have_no_figure_without_picture(tuned):
    recipe, run, _ = tuned
    (sides,) = judged_sides(recipe)
    judged = report(run)["held_out"]
    assert judged["tuned"]["overall"]["total"] == len(sides.held_out)
    assert sides.held_out_count.texts > 0
    assert judged["without_picture"]["overall"]["total"] == len(sides.held_out) - sides.held_out_count.texts


def test_the_model_is_the_checkpoint_with_the_lowest_loss_on_held_out_rows(tuned):
    _, run, _ = tuned
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = {record["step"]: record["held_out_loss"] for record in records if "held_out_loss" in record}
    best = min(losses, key=lambda step: (losses[step], -step))
    found = report(run)["early_stopping"]["joint"]
    assert (found["best_step"], found["best"]) == (best, pytest.approx(losses[best]))
    (kept,) = [path for path in checkpoints(run / "checkpoints") if path.name == f"step-{best:06d}"]
    for path in (run / "model").iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == (kept / path.name).read_bytes()
    assert report(run)["held_out_loss_before"] > losses[best]


def test_the_page_tells_split_stop_time_baselines_and_mistakes(tuned):
    recipe, run, _ = tuned
    (sides,) = judged_sides(recipe)
    page = (run / "report.html").read_text(encoding="utf-8")
    names = ["majority answer", "before tuning", "without picture", "tuned"]
    assert re.findall(r"<th>(majority.*?|before.*?|without.*?|tuned.*?)</th>", page) == names
    for part in (
        str(sides),
        "time in steps",
        "time in looks",
        "loss on held-out rows",
        "Majority answer: each question",
    ):
        assert part in page, part
    judged = report(run)["held_out"]
    assert sum(map(sum, judged["confusion"]["counts"])) == judged["tuned"]["overall"]["total"]
    assert 'class="mistaken"' in page
    assert "held-out questions right" in page.partition("<nav>")[0]
    assert page.count('<th scope="row">Which colour?</th>') == 1


def test_a_finished_run_is_judged_again_when_it_is_resumed(tuned):
    recipe, run, _ = tuned
    before = report(run)
    train(recipe, run, resume=True, console=Console(file=io.StringIO()))
    assert report(run)["held_out"] == before["held_out"]
    assert report(run)["early_stopping"] == before["early_stopping"]


def test_answers_from_before_to_fewer_questions_are_not_set_beside_the_others(tuned, tmp_path):
    recipe, run, _ = tuned
    again = shutil.copytree(run, tmp_path / "run")
    kept = json.loads((again / "first_answers.json").read_text(encoding="utf-8"))
    (again / "first_answers.json").write_text(json.dumps({**kept, "rows": kept["rows"][:-1]}), encoding="utf-8")
    train(recipe, again, resume=True, console=Console(file=io.StringIO()))
    assert "before_tuning" in report(run)["held_out"]
    assert "before_tuning" not in report(again)["held_out"]


def test_what_a_checkpoint_knew_of_the_world_is_asked_before_and_after(make_recipe, tmp_path):
    fresh = make_recipe(stages=[{"kind": "joint", "steps": 1}])
    start = train(fresh, tmp_path / "start", console=Console(file=io.StringIO()))
    given = sections(write_colours(tmp_path, count=12), eval_per_kind=1, eval_every=2)
    given["data"]["world"] = {"weight": 0.5, "things": 4, "languages": ["en"]}
    fields = fresh.model_dump() | {
        "tokenizer": {},
        "model": {"checkpoint": str(start)},
        "stages": [{"kind": "instruct", "steps": 2}],
    }
    fields |= {"data": given["data"], "train": fields["train"] | given["train"]}
    recipe = type(fresh).model_validate(fields)
    train(recipe, tmp_path / "run", console=Console(file=io.StringIO()))
    world = report(tmp_path / "run")["built_in_world"]
    assert list(world["before"]["kinds"]) == list(world["after"]["kinds"])
    assert world["before"]["overall"]["total"] == world["after"]["overall"]["total"] >= 40
    changed = world["wrong_before_and_right_now"] - world["right_before_and_wrong_now"]
    assert world["after"]["overall"]["right"] - world["before"]["overall"]["right"] == changed
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What was forgotten of the built-in world" in page
