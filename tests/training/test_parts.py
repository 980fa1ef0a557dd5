"""What a stage trains has gradients, nothing else has, and what has none can be told byte by byte."""

import pytest

from sightline.training.build import build
from sightline.training.contrast import RegionContrast
from sightline.training.lora import attach
from sightline.training.parts import count_parameters, part_of, set_trainable
from sightline.training.recipe import PARTS, LoraSection


@pytest.fixture
def model(recipe):
    return build(recipe)[0].train()


def trained_parts(model):
    return {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_every_parameter_belongs_to_the_part_that_it_is_in(model):
    parts = {name: part_of(name) for name, _ in model.named_parameters()}
    assert {parts[name] for name in parts if "vision_encoder" in name} == {"vision"}
    assert {parts[name] for name in parts if "vision_proj" in name} == {"projector"}
    assert {parts[name] for name in parts if "vision" not in name} == {"language"}
    assert parts["model.embed_tokens.weight"] == "language"


def test_all_that_a_contrastive_stage_trains_is_the_towers(model):
    names = [name for name, _ in RegionContrast(model).named_parameters()]
    assert any("text_projection" in name for name in names)
    assert any(name.startswith("clip.vision_model.encoder.layers.") for name in names)
    assert {part_of(name) for name in names} == {"vision"}


@pytest.mark.parametrize("trains", [("vision",), ("projector",), ("projector", "language"), PARTS])
def test_the_named_parts_and_no_others_have_gradients(model, trains):
    set_trainable(model, PARTS)
    set_trainable(model, trains)
    assert trained_parts(model) == set(trains)
    counts = count_parameters(model)
    assert all(trainable == (total if part in trains else 0) for part, (total, trainable) in counts.items())
    assert sum(total for total, _ in counts.values()) == sum(p.numel() for p in model.parameters())


def test_a_trained_tower_stays_trainable_through_eval_and_train(model):
    assert model.config.freeze_vision
    model.train()
    set_trainable(model, ("vision",))
    assert model.vision_encoder.training, "or its activations are not checkpointed"
    model.eval()
    model.train()
    assert trained_parts(model) == {"vision"}
    assert model.vision_encoder.training
    assert not model.config.freeze_vision


def test_a_tower_that_is_not_trained_is_in_eval_mode_and_stays_declared_frozen(model):
    set_trainable(model, ("projector",))
    assert model.config.freeze_vision
    assert not any(module.training for module in model.vision_encoder.modules())
    assert model.model.training


def test_with_lora_the_language_trains_its_adapters_alone(model):
    attach(model, LoraSection(rank=2))
    set_trainable(model, ("projector", "language"), lora=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if part_of(name) == "language"} == {
        name for name, _ in model.named_parameters() if ".lora_" in name
    }
    assert any(part_of(name) == "projector" for name in trained)
    set_trainable(model, ("projector",), lora=True)
    assert trained_parts(model) == {"projector"}


def test_a_part_that_does_not_exist_and_adapters_that_do_not_are_refused(model):
    with pytest.raises(ValueError, match="there is no part 'tower'; there is vision, projector, language"):
        set_trainable(model, ("tower",))
    with pytest.raises(ValueError, match="the model has none"):
        set_trainable(model, ("language",), lora=True)
