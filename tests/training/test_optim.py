"""Muon orthogonalises each matrix alone, agrees with torch's, and the schedule rises, stays and falls."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from sightline.training.build import build
from sightline.training.contrast import RegionContrast
from sightline.training.lora import attach
from sightline.training.optim import (
    Muon,
    build_optimizers,
    is_block_matrix,
    lr_factor,
    orthogonalize,
    set_learning_rates,
)
from sightline.training.parts import part_of, set_trainable
from sightline.training.recipe import PARTS, LoraSection


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


def test_the_update_is_orthogonalized_in_the_machines_dtype():
    torch.manual_seed(0)
    rough, exact = (nn.Parameter(w) for w in torch.randn(1, 12, 8).repeat(2, 1, 1))
    for weight, dtype in ((rough, torch.bfloat16), (exact, torch.float32)):
        torch.manual_seed(1)
        weight.grad = torch.randn(12, 8)
        Muon([weight], lr=0.02, dtype=dtype).step()
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.3 * 0.02 * 1.5**0.5


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
    model, _ = build(recipe)
    set_trainable(model, PARTS)
    muon, adamw = build_optimizers(model, recipe.train)
    by_muon = {id(p) for group in muon.param_groups for p in group["params"]}
    by_adamw = {id(p) for group in adamw.param_groups for p in group["params"]}
    names = {name: id(p) in by_muon for name, p in model.named_parameters()}
    assert names["model.layers.0.mlp.up_proj.weight"]
    assert names["vision_encoder.vision_model.encoder.layers.1.self_attn.q_proj.weight"]
    assert not names["model.embed_tokens.weight"]
    assert not names["vision_proj.vision_proj.0.weight"]
    assert not names["model.layers.0.input_layernorm.weight"]
    assert by_muon.isdisjoint(by_adamw)
    assert len(by_muon) + len(by_adamw) == len(names)
    assert all(is_block_matrix(name, p) == (id(p) in by_muon) for name, p in model.named_parameters())


def test_each_part_has_its_own_rate_and_matrices_but_embeddings_are_decayed(make_recipe):
    recipe = make_recipe(train={"lr_scale": {"vision": 0.1}, "weight_decay": 0.5, "optimizer": "adamw", "lr": 1.0})
    model, _ = build(recipe)
    set_trainable(model, PARTS)
    (adamw,) = build_optimizers(model, recipe.train)
    set_learning_rates([adamw], 0.5)
    of = {id(p): group for group in adamw.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        assert of[id(p)]["lr"] == pytest.approx(0.05 if name.startswith("vision_encoder.") else 0.5), name
        assert of[id(p)]["part"] == part_of(name), name
    decayed = {name for name, p in model.named_parameters() if of[id(p)]["weight_decay"] == 0.5}
    assert {of[id(p)]["weight_decay"] for p in model.parameters()} == {0.5, 0.0}
    matrices = {name for name, p in model.named_parameters() if p.ndim >= 2}
    # The head is the embedding's own matrix, so it is not among the names.
    assert matrices - decayed == {
        "model.embed_tokens.weight",
        "vision_encoder.vision_model.embeddings.position_embedding.weight",
    }
    assert decayed < matrices


def test_a_head_of_its_own_is_decayed(make_recipe):
    recipe = make_recipe(model={"overrides": {"tie_word_embeddings": False}})
    model, _ = build(recipe)
    set_trainable(model, PARTS)
    groups = [group for optimizer in build_optimizers(model, recipe.train) for group in optimizer.param_groups]
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay[id(model.lm_head.weight)] == recipe.train.weight_decay > 0
    assert decay[id(model.model.embed_tokens.weight)] == 0


def test_a_contrastive_stage_moves_at_the_rate_of_vision(make_recipe):
    recipe = make_recipe(train={"lr_scale": {"vision": 0.25}, "lr": 1.0, "muon_lr": 4.0})
    contrast = RegionContrast(build(recipe)[0])
    muon, adamw = build_optimizers(contrast, recipe.train)
    assert {(group["initial_lr"], group["part"]) for group in muon.param_groups} == {(1.0, "vision")}
    assert {(group["initial_lr"], group["part"]) for group in adamw.param_groups} == {(0.25, "vision")}


def test_routers_and_adapters_are_not_orthogonalized(make_recipe):
    experts = {"use_moe": True, "n_routed_experts": 3, "num_experts_per_token": 1}
    recipe = make_recipe(model={"overrides": experts})
    model = attach(build(recipe)[0], LoraSection(rank=2))
    set_trainable(model, PARTS)
    muon, _ = build_optimizers(model, recipe.train)
    by_muon = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in by_muon}
    others = {name for name, _ in model.named_parameters()} - names
    assert any(".lora_A." in name for name in others)
    assert "model.layers.1.mlp.gate.weight" in others
    assert not any(".lora_" in name for name in names)
    assert any(".experts." in name for name in names)


def rates(recipe, steps):
    return [lr_factor(recipe.train, step, step / steps) for step in range(steps)]


def test_wsd_warms_up_stays_and_falls_to_zero(make_recipe):
    factors = rates(make_recipe(train={"warmup_steps": 4, "decay_share": 0.25}), 20)
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(factors[5:15]) == {1.0}
    assert factors[15:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_cosine_falls_to_its_floor_and_constant_does_not_fall(make_recipe):
    cosine = make_recipe(train={"schedule": "cosine", "warmup_steps": 0, "min_lr_share": 0.1})
    factors = rates(cosine, 100)
    assert factors[0] == 1.0
    assert factors[50] == pytest.approx(0.55)
    assert lr_factor(cosine.train, 100, 1.0) == pytest.approx(0.1)
    assert all(before > after for before, after in pairwise(factors))
    assert set(rates(make_recipe(train={"schedule": "constant", "warmup_steps": 0}), 10)) == {1.0}
