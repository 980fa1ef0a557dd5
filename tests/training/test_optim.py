"""Muon orthogonalises each matrix alone, agrees with torch's, and the schedule rises, stays and falls."""

import pytest
import torch
from torch import nn

from sightline.training.optim import Muon, build_optimizers, build_schedules, is_block_matrix, orthogonalize


@pytest.mark.parametrize("shape", [(16, 16), (8, 24), (24, 8), (3, 12, 20)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_stack_of_experts_is_orthogonalized_one_by_one():
    torch.manual_seed(0)
    stack = torch.randn(4, 6, 10)
    together = orthogonalize(stack)
    for matrix, result in zip(stack, together, strict=True):
        torch.testing.assert_close(orthogonalize(matrix), result)


def test_a_step_is_torchs_muon_step():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(w) for w in torch.randn(1, 12, 8).repeat(2, 1, 1))
    optimizers = (
        Muon([ours], lr=0.02, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original"),
    )
    for _ in range(3):
        ours.grad = torch.randn(12, 8)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    # torch iterates in bfloat16, ours in the parameter's float32.
    assert (ours - theirs).abs().max() < 0.02 * 0.1


def test_blocks_matrices_go_to_muon_and_everything_else_to_adamw(recipe):
    from sightline.training.loop import build

    model, _ = build(recipe)
    muon, adamw = build_optimizers(model, recipe.train)
    by_muon = {id(p) for p in muon.param_groups[0]["params"]}
    names = {name: id(p) in by_muon for name, p in model.named_parameters()}
    assert names["model.layers.0.mlp.up_proj.weight"]
    assert names["vision_encoder.vision_model.encoder.layers.1.self_attn.q_proj.weight"]
    assert not names["model.embed_tokens.weight"]
    assert not names["vision_proj.vision_proj.0.weight"]
    assert not names["model.layers.0.input_layernorm.weight"]
    assert len(muon.param_groups[0]["params"]) + len(adamw.param_groups[0]["params"]) == len(names)
    assert all(is_block_matrix(name, p) == (id(p) in by_muon) for name, p in model.named_parameters())


def test_the_schedule_warms_up_stays_and_falls_to_zero(recipe):
    settings = recipe.train.model_copy(update={"pictures": 40, "warmup_steps": 4, "decay_share": 0.25})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    (schedule,) = build_schedules([optimizer], settings)
    rates = []
    for _ in range(settings.steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(rates[5:15]) == {1.0}
    assert rates[15:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
