"""Samples are dealt out in exact proportions, each file row once an epoch, all as a function of the place alone."""

import json
from collections import Counter

import pytest

from sightline.data.chat_file import read_chat_file
from sightline.training.batches import StageBatches
from sightline.training.build import build
from sightline.training.contrast import patch_weights
from sightline.training.sources import BLOCK, Deal, FileGroups


def test_every_block_holds_the_proportions_exactly():
    deal = Deal([3, 1, 0.5], seed=1)
    for block in range(3):
        counts = Counter(deal(place)[0] for place in range(block * BLOCK, (block + 1) * BLOCK))
        assert [counts[source] for source in range(3)] == [667, 222, 111]


def test_a_sources_samples_come_in_order_and_none_is_left_out():
    deal = Deal([1, 2], seed=0)
    numbers = [[], []]
    for place in range(2 * BLOCK + 17):
        source, number = deal(place)
        numbers[source].append(number)
    assert all(found == list(range(len(found))) for found in numbers)


def test_a_place_is_dealt_the_same_way_whenever_it_is_asked_for():
    one, other = Deal([1, 1], seed=4), Deal([1, 1], seed=4)
    other(5 * BLOCK + 3)
    assert [one(place) for place in range(50)] == [other(place) for place in range(50)]
    assert [one(place) for place in range(50)] != [Deal([1, 1], seed=5)(place) for place in range(50)]


@pytest.fixture
def rows(tmp_path):
    text = "".join(
        json.dumps({"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]})
        + "\n"
        for n in range(7)
    )
    (tmp_path / "rows.jsonl").write_text(text)
    return read_chat_file(tmp_path / "rows.jsonl")


def test_an_epoch_reads_each_row_once_in_an_order_of_its_own(rows):
    groups = FileGroups(rows, seed=0)
    epochs = [[groups.row(number) for number in range(7 * epoch, 7 * epoch + 7)] for epoch in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 2
    assert epochs[0] != epochs[1]
    assert groups.origin(0).endswith(f"rows.jsonl, line {groups.row(0) + 1}")


def test_a_batch_is_a_function_of_its_step(recipe):
    _, processor = build(recipe)
    one, other = (StageBatches(recipe, recipe.stages[0], processor, 32) for _ in range(2))
    other[0]
    for first, second in zip(one[3], other[3], strict=True):
        assert first.keys() == second.keys()
        assert all((first[name] == second[name]).all() for name in first)


def test_a_boxs_weights_lie_on_the_patches_that_it_covers():
    weights = patch_weights([(0.25, 0.0, 0.75, 0.25), (0.0, 0.0, 1.0, 1.0)], 4)
    assert weights[0].nonzero().flatten().tolist() == [1, 2]
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert weights[1].tolist() == pytest.approx([1 / 16] * 16)
