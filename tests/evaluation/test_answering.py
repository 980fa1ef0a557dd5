"""Many questions at once get the answers of one at a time; batches waste little; other weights are noticed."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sightline
from sightline.evaluation.answering import answer, by_room, fingerprint, groups, preparation
from sightline.evaluation.tasks import Key, Question

from ..stand_ins import save_llava


def question(number, text, pictures=0):
    content = [{"type": "image", "image": Image.effect_noise((40, 30), 60 + n)} for n in range(pictures)]
    return Question(
        Key("k", "", number),
        [{"role": "user", "content": [*content, {"type": "text", "text": text}]}],
        [""],
        where=f"row {number}",
    )


QUESTIONS = [
    question(0, "What is this?", 1),
    question(1, "How many ducks are there, and where are they?", 1),
    question(2, "Hello"),
    question(3, "What is the same, what is not?", 2),
    question(4, "What?", 1),
    question(5, "左上角有什么？", 2),
]


def answers(model, processor, questions, batch_size, max_new_tokens=6):
    batches = answer(model, processor, questions, batch_size, max_new_tokens)
    return {question.key.number: reply.text for batch in batches for question, reply in batch}


@pytest.mark.parametrize("room", [6, 1000])  # 1000: up to the model's last position, where padding would cut
def test_a_batch_is_the_questions_one_at_a_time(tiny, room):
    model, processor = tiny
    alone = {}
    for one in QUESTIONS:
        alone |= answers(model, processor, [one], 1, room)
    assert len(set(alone.values())) == len(QUESTIONS)
    assert answers(model, processor, QUESTIONS, 4, room) == alone


def test_the_model_is_not_shown_the_answer(tiny):
    seen = []
    _, processor = tiny

    class Spy:
        config, device = tiny[0].config, tiny[0].device

        def generate(self, input_ids, **_):
            seen.extend(processor.batch_decode(input_ids, skip_special_tokens=True))
            return input_ids

    assert answers(Spy(), processor, QUESTIONS[:2], 2) == {0: "", 1: ""}
    assert sorted(seen)[1] == "user\nWhat is this?\nassistant\n"


def test_a_prompt_that_leaves_no_place_for_an_answer_is_named(tiny):
    with pytest.raises(
        ValueError, match=r"row 7: the prompt has \d+ tokens, but the model's max_position_embeddings is 80"
    ):
        answers(*tiny, [QUESTIONS[0], question(7, "a b c d e f g h " * 40)], 2)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50)), max_size=40),
    st.integers(1, 8),
    st.none() | st.integers(1, 50),
)
def test_groups_hold_every_row_once_and_like_rows_together(sizes, batch_size, room):
    found = groups(sizes, batch_size, room)
    assert sorted(index for group in found for index in group) == list(range(len(sizes)))
    for group in found:
        pictures, lengths = {sizes[n][0] for n in group}, [sizes[n][1] for n in group]
        assert len(group) <= batch_size
        assert len(pictures) == 1
        assert room is None or max(lengths) <= room or len(set(lengths)) == 1


def test_how_sure_the_model_is_of_an_answer_is_the_probability_of_its_tokens(tiny):
    model, processor = tiny
    batches = answer(model, processor, QUESTIONS, 4, 6)
    found = {question.key.number: reply for batch in batches for question, reply in batch}
    for one in QUESTIONS:
        prompt = processor.apply_chat_template(
            one.opened(), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        inputs = {name: prompt[name] for name in ("input_ids", "pixel_values") if name in prompt}
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)
            logits = model(**{**inputs, "input_ids": tokens}).logits.log_softmax(-1)
        written = range(inputs["input_ids"].shape[1], tokens.shape[1])
        expected = sum(logits[0, place - 1, tokens[0, place]] for place in written).exp()
        assert found[one.key.number].sure == pytest.approx(float(expected), rel=1e-3)


def test_other_weights_have_another_fingerprint(tiny):
    model = copy.deepcopy(tiny[0])
    assert fingerprint(model) == fingerprint(tiny[0])
    with torch.no_grad():
        model.lm_head.weight.mul_(1.001)
    assert fingerprint(model) != fingerprint(tiny[0])


def test_a_single_other_value_is_another_fingerprint(tiny):
    model = copy.deepcopy(tiny[0])
    with torch.no_grad():
        weight = model.model.layers[0].self_attn.o_proj.weight
        weight[-1, -1] += 0.5
    assert fingerprint(model) != fingerprint(tiny[0])


def test_what_a_config_computes_is_part_of_what_answers_depend_on(tiny):
    model = copy.deepcopy(tiny[0])
    asked = preparation(model, tiny[1])
    model.config._name_or_path = "elsewhere"
    assert preparation(model, tiny[1]) == asked
    model.config.vision_config.layer_norm_eps *= 2
    assert preparation(model, tiny[1]) != asked


def test_a_llava_checkpoints_truths_are_measured_by_its_own_tokenizer(tmp_path):
    save_llava(tmp_path / "llava")
    model, processor = sightline.load(tmp_path / "llava", device="cpu", dtype="float32")
    model.config.max_position_embeddings = 8192
    (room, asked), *others = by_room(model, processor, QUESTIONS[:2], None)
    assert (room, asked, others) == (64, QUESTIONS[:2], [])
    long = replace(QUESTIONS[0], truths=["a duck, " * 40])
    assert next(most for most, _ in by_room(model, processor, [long, QUESTIONS[1]], None)) > 200
