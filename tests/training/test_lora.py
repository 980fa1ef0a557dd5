"""Adapters: on the language model alone, no change at first, merged without touching the model, resumed exactly."""

import sys

import pytest
import torch

import sightline
from sightline.interop.upcycle import upcycle
from sightline.training.build import build, reload
from sightline.training.lora import (
    adapter_state,
    attach,
    load_adapter_state,
    merged,
    without_adapters,
    write_merged,
)
from sightline.training.parts import set_trainable
from sightline.training.recipe import LoraSection

from .frozen import frozen_digest

LORA = LoraSection(rank=2, alpha=8)


def sample(model):
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([[5, *model.config.image_ids, 7, 300, 40, 2]])
    return {"input_ids": ids, "pixel_values": torch.randn(1, 3, 32, 32, generator=generator)}


def logits(model):
    with torch.no_grad():
        return model.eval()(**sample(model)).logits


def step(model, lr=0.1):
    """One step of gradient descent on everything that has gradients."""
    model.train()
    set_trainable(model, ("projector", "language"), lora=True)
    model(**sample(model), labels=sample(model)["input_ids"]).loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= lr * parameter.grad
                parameter.grad = None


@pytest.fixture(params=["dense", "experts"])
def plain(request, recipe):
    torch.manual_seed(0)
    model, processor = build(recipe)
    if request.param == "experts":
        model = upcycle(model, 4, 2, noise=0.1)
    return model.eval(), processor


def test_adapters_are_on_the_language_models_projections_and_start_as_no_change(plain):
    model, _ = plain
    before = logits(model)
    attach(model, LORA)
    assert torch.equal(logits(model), before)
    adapted = {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert all(name.startswith("model.layers.") for name in adapted)
    # Experts: the two stacks, gate and up being one. Dense: the three layers of each feed-forward.
    assert len(adapted) == 2 * (4 + (2 if model.config.use_moe else 3))


def test_merged_it_computes_the_same_and_the_model_is_untouched(plain):
    model = attach(plain[0], LORA)
    for _ in range(3):
        step(model)
    expected, before = logits(model), adapter_state(model)
    digest = frozen_digest(model)
    assert (logits(without_adapters(model)) - expected).abs().max() > 0.01, "the adapters must have learnt"
    one = merged(model)
    assert not any("lora" in name or "base_layer" in name for name in one.state_dict())
    torch.testing.assert_close(logits(one), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(model), expected)
    assert frozen_digest(model) == digest
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapter_state(model).items())


def test_merged_shares_what_no_adapter_touches(plain):
    model = attach(plain[0], LORA)
    one = merged(model)
    assert one.model.embed_tokens.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert one.lm_head.weight is one.model.embed_tokens.weight
    assert merged(one) is one


def test_written_it_is_a_plain_folder(plain, tmp_path):
    model, processor = plain
    step(attach(model, LORA))
    write_merged(model, tmp_path, processor)
    again, its_processor = sightline.load(tmp_path, device="cpu", dtype="float32")
    torch.testing.assert_close(logits(again), logits(model), atol=1e-4, rtol=1e-4)
    assert its_processor.image_token_id == processor.image_token_id
    assert torch.equal(logits(again), logits(merged(model)))


def test_resumed_from_the_base_and_the_state_it_is_bit_for_bit_the_same(make_recipe, plain, tmp_path):
    base, processor = plain
    recipe = make_recipe(model={"lora": {"rank": 2}}, stages=[{"kind": "instruct", "steps": 1}])
    write_merged(base, tmp_path, processor)
    model = attach(base, recipe.model.lora)
    step(model)
    state = adapter_state(model)
    torch.manual_seed(99)
    resumed, _ = reload(recipe, tmp_path)
    load_adapter_state(resumed, state)
    for one in (model, resumed):
        torch.manual_seed(5)
        step(one)
    expected = adapter_state(model)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in adapter_state(resumed).items())
    assert torch.equal(logits(resumed), logits(model))


def test_the_state_holds_adapters_and_projector_as_copies(plain):
    model = attach(plain[0], LORA)
    state = adapter_state(model)
    assert {name.split(".")[0] for name in state} == {"model", "vision_proj"}
    assert all(".lora_" in name for name in state if name.startswith("model."))
    step(model)
    changed = [name for name, tensor in adapter_state(model).items() if not torch.equal(tensor, state[name])]
    assert changed


def test_a_state_of_other_adapters_is_refused(plain, recipe):
    state = adapter_state(attach(plain[0], LORA))
    other = attach(build(recipe)[0], LoraSection(rank=3))
    with pytest.raises(ValueError, match="the saved adapters are others than the model's"):
        load_adapter_state(other, state)


def test_a_target_that_the_model_lacks_is_refused(recipe):
    model, _ = build(recipe)
    with pytest.raises(ValueError, match="the model has no 'qkv_proj'; it has down_proj, gate_proj"):
        attach(model, LoraSection(targets=("q_proj", "qkv_proj")))
    attach(model, LORA)
    with pytest.raises(ValueError, match="has adapters already"):
        attach(model, LORA)


def test_what_stacked_experts_cannot_take_is_refused(recipe):
    model = upcycle(build(recipe)[0], 4, 2)
    with pytest.raises(ValueError, match="take no dropout"):
        attach(model, LoraSection(dropout=0.1))
    with pytest.raises(ValueError, match="put both into"):
        attach(model, LoraSection(targets=("q_proj", "up_proj")))
    attach(model, LoraSection(dropout=0.1, targets=("q_proj",)))


def test_without_peft_the_error_names_the_extra(recipe, monkeypatch):
    model, _ = build(recipe)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install 'sightline\[train\]'"):
        attach(model, LORA)
