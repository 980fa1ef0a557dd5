"""Conversations about one picture become one row that holds the picture once and every conversation whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.config import PRESETS, VLMConfig
from sightline.encoding import share_trunk
from sightline.processor import VLMProcessor
from sightline.tokenizer import train_tokenizer

RED, BLUE = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")


@pytest.fixture(scope="module")
def processor():
    tokenizer = train_tokenizer(["What is this? A red square."] * 3, 600)
    return VLMProcessor.from_config(VLMConfig(**PRESETS["sightline-tiny"], vocab_size=len(tokenizer)), tokenizer)


def asked(question, answer, images=1):
    content = [{"type": "image"}] * images + [{"type": "text", "text": question}]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]


def unpacked(batch, row, branch):
    """Ids and labels of one conversation of a packed row."""
    member = (batch["branch_ids"][row] == 0) | (batch["branch_ids"][row] == branch)
    member &= batch["attention_mask"][row] == 1
    return batch["input_ids"][row][member].tolist(), batch["labels"][row][member].tolist()


def test_each_branch_with_the_trunk_is_its_conversation_with_its_labels(processor):
    conversations = [(asked("What is this?", "A red square."), [RED]), (asked("Red?", "Yes."), [RED])]
    batch = processor.encode_groups_for_training([conversations, conversations[:1]])
    assert batch["pixel_values"].shape[0] == 2
    for number, conversation in enumerate(conversations, start=1):
        alone = processor.encode_for_training([conversation])
        assert unpacked(batch, 0, number) == (alone["input_ids"][0].tolist(), alone["labels"][0].tolist())
    assert (batch["input_ids"][0] == processor.image_token_id).sum() == 196
    assert batch["branch_ids"][1].tolist() == [0 if real else -1 for real in batch["attention_mask"][1]]


def test_groups_of_one_conversation_are_plain_rows(processor):
    conversations = [(asked("What is this?", "A red square."), [RED]), (asked("hello", "Hi.", 0), [])]
    plain = processor.encode_for_training(conversations)
    batch = processor.encode_groups_for_training([[one] for one in conversations])
    assert batch.keys() == plain.keys()
    assert all(torch.equal(batch[name], plain[name]) for name in plain)


def test_a_group_about_different_pictures_is_an_error(processor):
    group = [(asked("What is this?", "Red."), [RED]), (asked("What is this?", "Blue."), [BLUE])]
    with pytest.raises(ValueError, match=r"group 0: its conversations are about different pictures"):
        processor.encode_groups_for_training([group])


def test_a_group_whose_pictures_do_not_stand_at_the_start_of_all_is_an_error(processor):
    late = asked("Look at this:", "Red.")
    late[0]["content"].reverse()
    with pytest.raises(ValueError, match=r"group 0: its pictures do not stand where all its conversations begin"):
        processor.encode_groups_for_training([[(asked("What?", "Red."), [RED]), (late, [RED])]])


def test_a_conversation_that_is_too_long_is_an_error(processor):
    with pytest.raises(ValueError, match=r"max_length=100"):
        processor.encode_groups_for_training([[(asked("What?", "Red."), [RED])]], max_length=100)


ROW = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=2, max_size=8)


@given(st.lists(ROW, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_a_trunk_never_holds_a_supervised_token_or_what_predicts_one(pairs):
    rows = [([token for token, _ in row], [0, *[mark for _, mark in row[1:]]]) for row in pairs]
    (ids, mask), branches = share_trunk(rows)
    assert len(ids) == len(mask) == len(branches)
    for number, (alone, marks) in enumerate(rows, start=1):
        own = (
            [place for place, branch in enumerate(branches) if branch in (0, number)]
            if len(rows) > 1
            else range(len(ids))
        )
        assert [ids[place] for place in own] == alone
        assert [mask[place] for place in own] == marks
        if len(rows) > 1 and 1 in marks:
            first = next(place for place in own if mask[place])
            assert branches[first - 1] == number
