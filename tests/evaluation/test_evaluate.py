"""An evaluation that is killed goes on where it was, and never mixes answers that do not belong together."""

import json

import pytest
from PIL import Image

from sightline.evaluation.answer_file import AnswerFile
from sightline.evaluation.answering import Reply
from sightline.evaluation.evaluate import evaluate, judge
from sightline.evaluation.examples import examples
from sightline.evaluation.results import Answer, Results, Share
from sightline.evaluation.tasks import file_tasks, scene_tasks


def test_the_truth_scores_full_marks_and_a_parrot_what_it_happens_to_hit(tasks, oracle, tmp_path):
    answers = evaluate(None, None, tasks, AnswerFile(tmp_path / "truth", {}), batch_size=4)
    assert [answer.key for answer in answers] == list(tasks.keys)
    assert Results(answers).share() == Share(18, 18)
    oracle.say = lambda question: "Yes."
    answers = evaluate(None, None, tasks, AnswerFile(tmp_path / "parrot", {}), batch_size=4)
    assert Results(answers).share().right == sum(answer.truth == "Yes." for answer in answers) < 18


def test_a_killed_evaluation_goes_on_with_what_is_missing(tasks, oracle, tmp_path):
    whole = evaluate(None, None, tasks, AnswerFile(tmp_path / "whole", {"a": 1}), batch_size=4)
    oracle.asked.clear()

    def die(answers):
        if len(oracle.asked) >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(None, None, tasks, AnswerFile(tmp_path / "cut", {"a": 1}), batch_size=4, on_batch=die)
    path = tmp_path / "cut" / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:7]) + lines[7][:30])  # torn in the middle of its last line
    oracle.asked.clear()
    resumed = evaluate(None, None, tasks, AnswerFile(tmp_path / "cut", {"a": 1}), batch_size=4)
    assert resumed == whole
    assert len(oracle.asked) == 18 - 7
    assert sorted(path.read_bytes().splitlines()) == sorted(
        (tmp_path / "whole" / "answers.jsonl").read_bytes().splitlines()
    )
    oracle.asked.clear()
    assert evaluate(None, None, tasks, AnswerFile(tmp_path / "cut", {"a": 1})) == whole
    assert oracle.asked == []


def test_workers_make_the_same_questions_and_their_errors_are_one_line(tasks, oracle, tmp_path, world):
    alone = evaluate(None, None, tasks, AnswerFile(tmp_path / "0", {}), batch_size=2)
    assert evaluate(None, None, tasks, AnswerFile(tmp_path / "1", {}), batch_size=2, workers=1) == alone
    impossible = scene_tasks(world, ["name"], ["en"], 1)
    world.question, before = None, world.question
    try:
        with pytest.raises(TypeError):
            evaluate(None, None, impossible, AnswerFile(tmp_path / "2", {}))
    finally:
        del world.question
    assert world.question == before


def test_what_a_worker_cannot_make_is_one_line(world, oracle, tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("there is no such question")

    tasks = scene_tasks(world, ["name"], ["en"], 1)
    monkeypatch.setattr(type(world), "question", refuse)  # which a worker that is forked has too
    for workers in (0, 1):
        with pytest.raises(ValueError, match="there is no such question") as caught:
            evaluate(None, None, tasks, AnswerFile(tmp_path / str(workers), {}), workers=workers)
        assert "\n" not in str(caught.value)


def test_answers_under_other_settings_are_refused(tmp_path):
    AnswerFile(tmp_path, {"weights": "abc", "per_kind": 5})
    AnswerFile(tmp_path, {"weights": "abc", "per_kind": 5})
    with pytest.raises(FileExistsError, match="holds answers with per_kind=5, not 6: give another --out"):
        AnswerFile(tmp_path, {"weights": "abc", "per_kind": 6})
    with pytest.raises(FileExistsError, match="holds answers with weights='abc', not None"):
        AnswerFile(tmp_path, {"per_kind": 5})
    (tmp_path / "settings.json").unlink()
    (tmp_path / "answers.jsonl").write_text("")
    with pytest.raises(FileExistsError, match=r"answers\.jsonl is there without a settings\.json"):
        AnswerFile(tmp_path, {"per_kind": 5})


@pytest.mark.parametrize("name", ["results.json", "mistakes.html"])
def test_files_of_others_are_not_written_over(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match="is there without a settings"):
        AnswerFile(tmp_path, {"per_kind": 5})
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_damaged_line_is_named(tmp_path):
    AnswerFile(tmp_path, {}).add([Answer("k", "en", n, "q", "t", "a", 1.0) for n in range(2)])
    path = tmp_path / "answers.jsonl"
    path.write_text('{"kind": "k"}\n' + path.read_text())
    with pytest.raises(ValueError, match=r"answers\.jsonl, line 1 is no answer"):
        AnswerFile(tmp_path, {})


def test_answers_to_what_is_no_longer_asked_are_refused(tasks, oracle, tmp_path):
    evaluate(None, None, tasks, AnswerFile(tmp_path, {}))
    path = tmp_path / "answers.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps({**row, "question": "Why?"}) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(ValueError, match="the answers there are to other questions"):
        evaluate(None, None, tasks, AnswerFile(tmp_path, {}))


def test_results_add_up_by_kind_and_language():
    def said(kind, language, right):
        return Answer(kind, language, 0, "", "", "", right)

    results = Results([said("name", "en", 1), said("name", "zh", 0), said("size", "en", 1), said("size", "en", 0.5)])
    assert results.share("name") == Share(1, 2)
    assert results.share(language="en") == Share(2.5, 3)
    assert results.share("size", "zh") == Share(0, 0)
    assert results.share() == Share(2.5, 4)
    report = json.loads(json.dumps(results.as_dict()))
    assert report["overall"]["accuracy"] == 0.625
    assert report["overall"]["low"] < 0.625 < report["overall"]["high"]
    assert report["kinds"]["name"]["languages"]["zh"]["right"] == 0
    assert list(report["languages"]) == ["en", "zh"]
    assert str(results).startswith("62.5 (22–91) % of 4: name 50  size 75")
    assert "\n" not in str(results)


def test_examples_are_mistakes_first_and_few_of_each_kind(world, oracle, tmp_path):
    tasks = scene_tasks(world, ["name", "same_different"], ["en", "zh"], 9)
    oracle.say = lambda question: question.truths[0] if question.key.number % 2 else "Hm."
    answers = evaluate(None, None, tasks, AnswerFile(tmp_path, {}))
    shown = examples(tasks, answers, most=16)
    assert [one.outcome for one in shown] == ["wrong", "wrong", "wrong", "right"] * 4
    assert [(one.kind, one.language) for one in shown[::4]] == [
        (kind, language) for kind in ("name", "same_different") for language in ("en", "zh")
    ]
    assert [len(one.pictures) for one in shown[::4]] == [1, 1, 2, 2]
    assert len(examples(tasks, answers)) == 4 * (5 + 4)
    one_kind = scene_tasks(world, ["size"], ["en"], 60)
    oracle.say = lambda question: "Hm."
    wrong = evaluate(None, None, one_kind, AnswerFile(tmp_path / "one", {}))
    assert len(examples(one_kind, wrong)) == 60


def test_photographs_are_kept_small(tmp_path):
    Image.new("RGB", (1200, 900), "red").save(tmp_path / "a.png")
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Red."}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns, "images": ["a.png"]}))
    tasks = file_tasks(tmp_path / "rows.jsonl")
    (shown,) = examples(tasks, [judge(tasks.question(tasks.keys[0]), "Blue.")])
    assert [picture.size for picture in shown.pictures] == [(256, 192)]


def test_a_long_truth_has_room_in_its_answer(tiny, tmp_path, monkeypatch):
    truths = {"short?": "yes", "long?": "word " * 40}
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": ask, "answer": truth}) + "\n" for ask, truth in truths.items()))
    given = {}

    def answer(model, processor, questions, batch_size, max_new_tokens):
        given.update((question.text, max_new_tokens) for question in questions)
        yield [(question, Reply(question.truths[0], 0.5)) for question in questions]

    monkeypatch.setattr("sightline.evaluation.evaluate.answer", answer)
    monkeypatch.setattr(tiny[0].config, "max_position_embeddings", 2048)
    asked = file_tasks(str(rows))
    evaluate(*tiny, asked, AnswerFile(tmp_path / "own", {}), max_new_tokens=None)
    assert given["short?"] == 128
    assert given["long?"] >= 2 * len(tiny[1].encode_text(truths["long?"].strip()))
    evaluate(*tiny, asked, AnswerFile(tmp_path / "seven", {}), max_new_tokens=7)
    assert set(given.values()) == {7}
