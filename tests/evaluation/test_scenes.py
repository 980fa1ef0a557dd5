"""An answer is right when its words are; a share comes with the interval that statistics textbooks give."""

import pytest

import sightline
from sightline.data.scenes import World
from sightline.evaluation import scenes


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("A duck.", "a duck", True),
        ("  A   duck. ", "A duck.", True),
        ("一只鸭子", "一只鸭子。", True),
        ("１２", "12", True),
        ("A dog.", "A duck.", False),
        ("A duck. A dog.", "A duck.", False),
        ("", "A duck.", False),
    ],
)
def test_only_case_width_space_and_the_final_stop_do_not_count(answer, truth, right):
    assert scenes.exact_match(answer, truth) is right


def test_the_interval_is_wilsons():
    # Newcombe (1998), table I: 81 of 263, and 15 of 148.
    assert scenes.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert scenes.wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert scenes.wilson_interval(0, 0) == (0.0, 1.0)
    low, high = scenes.wilson_interval(20, 20)
    assert 0.8 < low < high == 1.0


def test_a_model_that_knows_the_truth_scores_full_marks_and_a_parrot_does_not(monkeypatch):
    world = World(split="test", things=3, image_size=32)
    truths = {number: world.question(number, "colour", "en")[1] for number in range(10)}

    def oracle(model, processor, samples, max_new_tokens):
        return [sample["messages"][-1]["content"][-1]["text"] for sample in samples]

    monkeypatch.setattr(scenes, "answer_batch", oracle)
    assert scenes.evaluate_kind(None, None, world, "colour", "en", 10, batch_size=4).accuracy == 1.0
    monkeypatch.setattr(scenes, "answer_batch", lambda model, processor, samples, _: ["Red."] * len(samples))
    score = scenes.evaluate_kind(None, None, world, "colour", "en", 10, batch_size=4)
    assert score.right == sum(truth == "Red." for truth in truths.values())
    assert score.total == 10
    assert len(score.mistakes) == 10 - score.right


def test_the_model_is_asked_the_question_and_not_shown_the_answer(tiny_model_folder):
    model, processor = sightline.load(tiny_model_folder, device="cpu", dtype="float32")
    world = World(split="test", things=3, image_size=32)
    samples = [world.question(number, "size", "en")[0] for number in range(3)]
    together = scenes.answer_batch(model, processor, samples, max_new_tokens=4)
    assert together == [scenes.answer_batch(model, processor, [sample], max_new_tokens=4)[0] for sample in samples]
    shortened = [{**sample, "messages": sample["messages"][:1]} for sample in samples]
    assert scenes.answer_batch(model, processor, shortened, max_new_tokens=4) == together
