"""A question holds everything up to the turn that is asked, and what makes its answer right."""

import json
import os
import pickle

import pytest

from sightline.data.readers import open_data
from sightline.data.sample import sample_from
from sightline.evaluation.tasks import Key, file_tasks, first_rows, scene_tasks


def test_the_worlds_questions_are_asked_without_their_answers(world, tasks):
    assert len(tasks.keys) == len(set(tasks.keys)) == 3 * 2 * 3
    for key in tasks.keys:
        sample, truth = world.question(key.number, key.kind, key.language)
        question = tasks.question(key)
        assert question.truths == [truth]
        assert question.messages[-1]["role"] == "user"
        assert [message["role"] for message in question.messages] == [m["role"] for m in sample["messages"][:-1]]
        assert len(question.pictures) == len(sample["images"])
        assert question.score(truth) == 1
        assert question.score("Something else.") == 0


def test_of_a_dialogue_the_last_user_turn_is_asked():
    class Dialogues:
        kinds, axis = ("name",), "seen"

        def question(self, index, kind, language):
            return sample_from(["What is this?", "And what is it for?"], ["A drum.", "To be beaten."]), "To be beaten."

    tasks = scene_tasks(Dialogues(), ["name"], ["en"], 1)
    question = tasks.question(tasks.keys[0])
    assert question.text == "And what is it for?"
    assert question.earlier == [("user", "What is this?"), ("assistant", "A drum.")]
    assert question.truths == ["To be beaten."]


def test_tasks_can_be_sent_to_another_process(tasks):
    key = tasks.keys[4]
    assert pickle.loads(pickle.dumps(tasks)).question(key).text == tasks.question(key).text


def test_unknown_kinds_and_languages_are_refused_before_anything_is_asked(world):
    with pytest.raises(ValueError, match="'nmae'"):
        scene_tasks(world, ["nmae"], ["en"], 1)
    with pytest.raises(ValueError, match="'fr'"):
        scene_tasks(world, ["name"], ["fr"], 1)
    world = type("Narrow", (), {"kinds": ("word",), "axis": "font"})()
    with pytest.raises(ValueError, match="the axis 'font' does not ask 'name', only: word"):
        scene_tasks(world, ["name"], ["en"], 1)


@pytest.fixture
def write(tmp_path, picture):
    def write_rows(*rows):
        path = tmp_path / "mine.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write_rows


def row(*texts, **fields):
    roles = ("user", "assistant") * len(texts)
    return {"messages": [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)], **fields}


def test_rows_of_a_file_become_questions(write, picture):
    rows = [
        row("What?", "A cat.", images=[str(picture)]),
        row("Which?", "B", choices=["a dog", "a cat"], kind="pets", language="en"),
        row("Read it.", answers=["STOP", "HALT"], metric="anls", kind="signs"),
        row("And?", "2", kind="pets", language="en"),
        row("Why?", "3", kind=""),  # an empty cell of a table
    ]
    tasks = file_tasks(write(*rows))
    # Kinds together, so that a batch has answers of like length; the file's name where a row says nothing.
    assert list(tasks.keys) == [
        Key("mine", "", 0),
        Key("mine", "", 4),
        Key("pets", "en", 1),
        Key("pets", "en", 3),
        Key("signs", "", 2),
    ]
    questions = {key.number: tasks.question(key) for key in tasks.keys}
    assert questions[0].pictures[0].size == (40, 30)
    # Not opened before they are needed: many large photographs do not fit into memory.
    assert questions[0].messages[0]["content"][0] == {"type": "image", "image": str(picture)}
    assert questions[0].score("a cat") == 1
    assert questions[1].metric == "choice"
    assert questions[1].score("A cat") == questions[1].score("(b)") == 1
    assert questions[1].score("A dog") == 0
    assert questions[2].score("STOPP") == pytest.approx(0.8)
    assert questions[2].where.endswith("mine.jsonl, line 3")


def test_the_metric_of_the_call_holds_for_rows_without_one(write):
    path = write(row("What?", "cat"), row("What?", "cat", metric="exact"))
    first, second = (lambda tasks: [tasks.question(key) for key in tasks.keys])(file_tasks(path, metric="contains"))
    assert first.score("It is a cat.") == 1
    assert second.score("It is a cat.") == 0


def test_per_kind_takes_the_first_of_each_kind_and_another_file_has_other_settings(write):
    rows = [row("What?", str(n), kind="odd" if n % 2 else "even") for n in range(10)]
    tasks = file_tasks(write(*rows), per_kind=2)
    assert [(key.kind, key.number) for key in tasks.keys] == [("even", 0), ("even", 2), ("odd", 1), ("odd", 3)]
    assert tasks.settings != file_tasks(write(*rows[1:]), per_kind=2).settings


def test_held_out_rows_that_ask_nothing_are_passed_over_as_in_training(write):
    path = write(*(row(f"What is {n}?", str(n), **({"metric": "mood"} if n % 2 else {})) for n in range(60)))
    tasks = file_tasks(path, held_out=0.5)
    assert tasks.keys
    assert all(tasks.question(key).truths[0] in {str(n) for n in range(0, 60, 2)} for key in tasks.keys)
    assert 0 < tasks.passed_over.rows < 60
    assert "mood" in str(tasks.passed_over)
    with pytest.raises(ValueError, match="mood"):
        file_tasks(path)
    none = write(*(row(f"What is {n}?", str(n), metric="mood") for n in range(60)))
    with pytest.raises(ValueError, match=r"none of the held-out rows asks anything: .* rows; the first: .*mood"):
        file_tasks(none, held_out=0.5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("What?"), "line 2 has no truth: end it with the assistant's message, or give a list of 'answers'"),
        (row("What?", answers=[]), "line 2 has no truth"),
        (row("What?", answers="cat"), "line 2: 'answers' is a list of texts, but is 'cat': put each in quotes"),
        (row("What?", "cat", answers=[3]), "line 2: 'answers' is a list of texts, but is [3]: put each in quotes"),
        (
            row("What?", "cat", metric="bleu"),
            "line 2: there is no metric 'bleu'; there is exact, contains, anls, choice",
        ),
        (row("What?", "cat", choices="cat"), "'choices' is a list of texts"),
        (row("What?", "cat", metric="choice"), "multiple choice needs 'choices' that hold the truth 'cat'"),
        (row("What?", "cow", choices=["a dog", "a cat"]), "multiple choice needs 'choices' that hold the truth 'cow'"),
        ({"messages": [{"role": "assistant", "content": "Hello."}]}, "line 2 asks nothing"),
    ],
)
def test_a_row_that_cannot_be_asked_is_found_before_the_first_is(write, bad, message):
    with pytest.raises(ValueError, match="line 2") as caught:
        file_tasks(write(row("What?", "cat"), bad))
    assert message in str(caught.value)


def test_a_damaged_picture_is_named_with_its_row(write, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    tasks = file_tasks(write(row("What?", "cat", images=["bad.png"])))
    with pytest.raises(ValueError, match=r"line 1: .*is not an image"):
        tasks.question(tasks.keys[0]).opened()


def test_other_pictures_under_the_same_names_are_other_settings(write, tmp_path, picture):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(picture.read_bytes())
    path = write(row("What?", "cat", images=["a.png"]))
    first = file_tasks(path, image_folder=tmp_path / "one").settings
    assert first == file_tasks(path, image_folder=tmp_path / "one").settings
    assert first["image_folder"] == str(tmp_path / "one")
    assert file_tasks(path, image_folder=tmp_path / "two").settings["image_folder"] == str(tmp_path / "two")


def test_a_picture_is_what_it_shows_and_names_need_not_be_utf8(write, tmp_path, picture):
    name = os.fsdecode(b"b\xff.png")
    (tmp_path / name).write_bytes(picture.read_bytes())
    (tmp_path / "a.png").write_bytes(picture.read_bytes())
    tasks = file_tasks(write(row("What?", "cat", images=[name]), row("What?", "cat", images=["a.png"])))
    shown = [tasks.question(key).shown for key in tasks.keys]
    assert shown[0] == shown[1]
    os.utime(tmp_path / "a.png", (1, 1))  # as a copy has another time
    assert tasks.question(tasks.keys[1]).shown == shown[1]
    with (tmp_path / "a.png").open("ab") as file:
        file.write(b" ")
    again = [tasks.question(key).shown for key in tasks.keys]
    assert again[0] == shown[0]
    assert again[1] != shown[1]


def test_of_the_first_rows_those_are_asked_that_can_be(write):
    path = write(row("What?", "cat"), row("What?"), row("Which?", "dog", kind="pets"), row("And?", "cow"))
    tasks = first_rows(open_data(path), 3)
    assert list(tasks.keys) == [Key("mine", "", 0), Key("pets", "", 2)]
    assert tasks.question(tasks.keys[1]).truths == ["dog"]
    graded = first_rows(open_data(path), 3, "anls")
    assert [graded.question(key).metric for key in graded.keys] == ["anls", "anls"]
