"""A probe in the middle of a training tells how it goes and leaves no trace in it."""

import copy

import torch

from sightline.evaluation.answering import LEAST, MOST, Reply
from sightline.evaluation.examples import Example
from sightline.evaluation.probe import ask, probe, probe_examples, side_by_side, with_before
from sightline.evaluation.tasks import Key, Question, Tasks


def test_a_probe_leaves_model_and_random_numbers_as_they_were(tiny, world):
    model, processor = copy.deepcopy(tiny[0]).train(), tiny[1]
    model.model.layers[0].eval()  # as a frozen part is
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = probe(model, processor, world, ["name", "size"], ["en", "zh"], 2, batch_size=3, max_new_tokens=3)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert first.share().total == 8
    again = probe(tiny[0], processor, world, ["name", "size"], ["en", "zh"], 2, batch_size=8, max_new_tokens=3)
    assert again.as_dict() == first.as_dict()


def test_a_probe_counts_what_is_right_in_the_order_of_the_kinds(oracle, tiny, world):
    oracle.say = lambda question: question.truths[0] if question.key.kind == "size" else "Hm."
    results = probe(*tiny, world, ["name", "size"], ["en"], 3)
    assert str(results).endswith("of 6: name 0  size 100")


def test_examples_show_before_and_after(oracle, tiny, world):
    oracle.say = lambda question: "Hm."
    kinds, languages = ["name", "size", "same_different"], ["en", "zh"]
    before = probe_examples(*tiny, world, kinds, languages, 4)
    oracle.say = lambda question: question.truths[0]
    now = with_before(probe_examples(*tiny, world, kinds, languages, 4), [one.answer for one in before])
    assert [one.kind for one in now[:3]] == kinds
    assert {one.language for one in now} == {"en", "zh"}
    assert [one.right for one in now] == [1] * 4
    line = next(side_by_side(now))
    assert line == f"+ name: {now[0].question}  {now[0].truth}  ->  {now[0].truth}  (before: Hm.)"
    assert next(side_by_side(before)).startswith("- name:")


def test_an_answer_may_be_as_long_as_its_truth_needs(monkeypatch, tiny):
    texts = ["A duck.", "a b c d e f g h " * 5, "word " * 1400, "Red."]
    needed = [len(tiny[1].encode_text(text)) for text in texts]
    monkeypatch.setattr(tiny[0].config, "max_position_embeddings", 2048)
    assert needed[0] < 2 * needed[1] < 512 < needed[2]
    asked = {}

    def answer(model, processor, questions, batch_size, max_new_tokens):
        asked.update((question.text, max_new_tokens) for question in questions)
        yield [(question, Reply(question.truths[0], 0.5)) for question in questions]

    monkeypatch.setattr("sightline.evaluation.probe.answer", answer)

    def question(key):
        content = [{"type": "text", "text": str(key.number)}]
        return Question(key, [{"role": "user", "content": content}], ["No.", texts[key.number]])

    tasks = Tasks([Key("k", "", n) for n in range(4)], question, {})
    found = ask(*tiny, tasks)
    assert [answer.answer for _, answer in found] == ["No."] * 4  # in order, however they were put together
    assert asked["0"] == asked["3"] == LEAST
    assert 4 * needed[1] > asked["1"] >= 2 * needed[1]
    assert asked["2"] == 512  # prompts need the rest of the positions
    monkeypatch.setattr(tiny[0].config, "max_position_embeddings", 9999)
    ask(*tiny, tasks)
    assert asked["2"] == MOST
    ask(*tiny, tasks, max_new_tokens=7)
    assert set(asked.values()) == {7}


def test_an_answer_without_end_is_cut_on_the_console():
    one = Example([], "What?", "A duck.", "as " * 99, before="as\n" * 99)
    (line,) = side_by_side([one])
    assert len(line) < 200
    assert "\n" not in line
    assert line.count("…") == 2
