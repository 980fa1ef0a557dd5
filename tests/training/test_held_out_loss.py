"""The loss on held-out rows is training's loss on them, takes nothing from the run, and names the row that fails."""

import copy
import json

import pytest
import torch

from sightline.data.readers import open_data
from sightline.training import held_out_loss as module
from sightline.training.build import build
from sightline.training.held_out_loss import HeldOutLoss
from sightline.training.objectives import Conversations
from sightline.training.row_checks import limit_of

from .colours import write_colours


@pytest.fixture(scope="module")
def built(recipe):
    return build(recipe)


@pytest.fixture
def rows(tmp_path):
    return open_data(write_colours(tmp_path, count=9, texts=3))


def whole(rows, model, processor):
    """The mean over every token of all rows, one row at a time."""
    total, weight, objective = 0.0, 0, Conversations(model.eval())
    for row in rows:
        batch = processor.encode_groups_for_training([[(row.messages, row.images)]], None)
        count = objective.weight(batch)
        with torch.no_grad():
            total += float(objective.loss(batch, count).value) * count
        weight += count
    return total / weight


def test_it_is_the_mean_over_all_tokens_of_all_rows(built, rows):
    model, processor = built
    found = HeldOutLoss([rows], processor, None, torch.float32)(model)
    assert found == pytest.approx(whole(rows, model, processor), rel=1e-4)


def test_it_is_the_same_every_time_and_leaves_the_run_alone(built, rows):
    model, processor = copy.deepcopy(built[0]).train(), built[1]
    loss = HeldOutLoss([rows], processor, None, torch.float32)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = loss(model)
    assert torch.equal(torch.rand(2), expected)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert loss(model) == first


def test_of_many_rows_a_fair_few_are_read(built, rows, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 6)
    monkeypatch.setattr(module, "MOST", 4)
    loss = HeldOutLoss([rows], built[1], None, torch.float32)
    assert len(loss.files[0].rows) == 6
    assert len(loss.places) <= 4
    assert loss.places == HeldOutLoss([rows], built[1], None, torch.float32).places


def test_a_row_that_is_too_long_is_named_with_its_file(built, rows):
    said = r"rows\.jsonl, line\w* \d+.*, which is held out: its \d+ tokens are more than the model's .* 8; shorten it"
    with pytest.raises(ValueError, match=said):
        HeldOutLoss([rows], built[1], limit_of(None, 8), torch.float32)(built[0])
    with pytest.raises(ValueError, match=r"tokens are more than train\.max_length 8; shorten it or raise that"):
        HeldOutLoss([rows], built[1], limit_of(8, 512), torch.float32)(built[0])


def test_the_routers_balance_is_no_part_of_it(make_recipe, rows):
    sparse = {"use_moe": True, "n_routed_experts": 4, "num_experts_per_token": 2, "router_z_loss_alpha": 0.1}
    losses = []
    for alpha in (0.0, 5.0):
        recipe = make_recipe(model={"overrides": {**sparse, "aux_loss_alpha": alpha}})
        torch.manual_seed(0)
        model, processor = build(recipe)
        losses.append(HeldOutLoss([rows], processor, None, torch.float32)(model))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] < 7.0  # about a guess over 600 tokens; the balance of the second model is 5 more


def test_what_has_no_answer_has_no_loss(built, rows, tmp_path):
    unanswered = [{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": " "}]}] * 3
    (tmp_path / "blank.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unanswered))
    blank = open_data(tmp_path / "blank.jsonl")
    assert HeldOutLoss([blank], built[1], None, torch.float32).places == []
    assert HeldOutLoss([rows, blank], built[1], None, torch.float32)(built[0]) == pytest.approx(
        HeldOutLoss([rows], built[1], None, torch.float32)(built[0]), rel=1e-4
    )
