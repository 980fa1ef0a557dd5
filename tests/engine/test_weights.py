"""Fused weights: the model stays what it was, nothing is held twice, and changes are seen."""

import copy

import pytest
import torch
from torch import nn

from sightline.config import LLMConfig
from sightline.engine.weights import FusedWeights, is_plain
from sightline.nn.language import CausalLM

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "initializer_range": 0.3}
IDS = torch.randint(1, 64, (2, 9), generator=torch.Generator().manual_seed(1))


def language_model(**fields):
    torch.manual_seed(0)
    return CausalLM(LLMConfig(**{**SIZES, **fields})).eval()


def bytes_held(model):
    """Of all storages that parameters lie in, each counted once."""
    return sum({p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}.values())


def lies_in(part, whole):
    return part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


@pytest.mark.parametrize("fields", [{}, {"attention_bias": True}, {"use_moe": True}, {"tie_word_embeddings": False}])
def test_nothing_is_held_twice_and_nothing_changes(fields):
    model = language_model(**fields)
    before, held, logits = copy.deepcopy(model.state_dict()), bytes_held(model), model(IDS).logits
    FusedWeights(model)
    assert bytes_held(model) == held
    assert list(model.state_dict()) == list(before)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name
    torch.testing.assert_close(model(IDS).logits, logits)


def test_parameters_are_views_of_the_fused_ones():
    model = language_model(attention_bias=True)
    layer, block = FusedWeights(model).layers[1], model.model.layers[1]
    attention, mlp = block.self_attn, block.mlp
    assert torch.equal(
        layer.qkv, torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    )
    assert torch.equal(layer.qkv_bias, torch.cat([attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias]))
    assert torch.equal(layer.gate_up, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
    for part, whole in [(attention.v_proj.weight, layer.qkv), (attention.k_proj.bias, layer.qkv_bias)]:
        assert lies_in(part, whole)
    assert lies_in(mlp.up_proj.weight, layer.gate_up)
    assert lies_in(mlp.down_proj.weight, layer.down)


def test_experts_stay_as_they_are():
    model = language_model(use_moe=True, n_shared_experts=1, first_k_dense_replace=1)
    weights = FusedWeights(model)
    assert [layer.gate_up is None for layer in weights.layers] == [False, True]
    assert all(layer.qkv is not None for layer in weights.layers)


def test_a_bias_that_is_replaced_is_seen():
    model = language_model(attention_bias=True, attention_output_bias=True)
    weights, attention = FusedWeights(model), model.model.layers[0].self_attn
    for part in (attention.k_proj, attention.o_proj):
        part.bias = nn.Parameter(torch.full_like(part.bias, 7.0))
    assert weights.refresh()
    layer, biases = weights.layers[0], [attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias]
    assert torch.equal(layer.qkv_bias, torch.cat(biases))
    assert torch.equal(layer.out_bias, attention.o_proj.bias)


def test_training_in_place_is_seen():
    model = language_model()
    with torch.inference_mode():  # even if fused here, the weights can be trained
        weights = FusedWeights(model)
    version = weights.version
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(IDS, labels=IDS).loss.backward()
    optimizer.step()
    assert weights.version != version
    assert not weights.refresh()
    block = model.model.layers[0]
    assert torch.equal(weights.layers[0].qkv[32:48], block.self_attn.k_proj.weight)
    assert torch.equal(weights.layers[0].gate_up[48:], block.mlp.up_proj.weight)


def test_loading_a_state_dict_is_seen():
    model, other = language_model(), language_model(initializer_range=0.5)
    weights = FusedWeights(model)
    model.load_state_dict(other.state_dict())
    assert not weights.refresh()
    assert torch.equal(weights.layers[1].gate_up[:48], other.model.layers[1].mlp.gate_proj.weight)


def test_what_is_not_touched_has_the_same_version():
    weights = FusedWeights(language_model())
    assert weights.version == weights.version
    assert not weights.refresh()


def cast(model):
    model.to(torch.float64)


def replace_parameter(model):
    model.model.layers[1].mlp.up_proj.weight = nn.Parameter(torch.ones(48, 32))


def replace_module(model):
    model.model.layers[0].self_attn.k_proj = nn.Linear(32, 16, bias=False)


def replace_norm(model):
    model.model.norm.weight = nn.Parameter(torch.full((32,), 2.0))


def replace_embedding(model):
    model.set_input_embeddings(nn.Embedding(64, 32))


@pytest.mark.parametrize("change", [cast, replace_parameter, replace_module, replace_norm, replace_embedding])
def test_what_was_moved_or_replaced_is_fused_again(change):
    model = language_model()
    weights = FusedWeights(model)
    version = weights.version
    change(model)
    held, logits = bytes_held(model), model(IDS).logits
    assert weights.refresh()
    assert not weights.refresh()
    assert weights.version != version
    assert bytes_held(model) <= held
    torch.testing.assert_close(model(IDS).logits, logits)
    for layer, block in zip(weights.layers, model.model.layers, strict=True):
        assert layer.qkv.dtype == block.self_attn.k_proj.weight.dtype
        assert torch.equal(layer.qkv[32:48], block.self_attn.k_proj.weight)
        assert torch.equal(layer.gate_up[48:], block.mlp.up_proj.weight)
    assert torch.equal(weights.norm, model.model.norm.weight)
    assert weights.embedding.data_ptr() == model.model.embed_tokens.weight.data_ptr()


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_loads_as_it_was(tmp_path, tied):
    model = language_model(tie_word_embeddings=tied, attention_bias=True)
    FusedWeights(model)
    model.save_pretrained(tmp_path / "whole")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    loaded = CausalLM.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    plain = language_model(tie_word_embeddings=tied, attention_bias=True, initializer_range=0.1)
    plain.load_state_dict(torch.load(tmp_path / "state.pt"))
    torch.testing.assert_close(plain(IDS).logits, model(IDS).logits)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_what_is_more_than_a_linear_layer_is_left_alone():
    model = language_model()
    first, second = model.model.layers
    first.self_attn.v_proj = Doubled(32, 16, bias=False)
    second.mlp.up_proj.register_forward_hook(lambda *_: None)
    layers = FusedWeights(model).layers
    assert layers[0].qkv is None
    assert layers[0].gate_up is not None
    assert layers[1].qkv is not None
    assert layers[1].gate_up is None


def _hooked(model):
    model.model.norm.register_forward_hook(lambda *_: None)


def _other_norm(model):
    model.model.layers[1].input_layernorm = nn.RMSNorm(32)


def _other_embedding(model):
    model.model.embed_tokens = type("Scaled", (nn.Embedding,), {})(64, 32)


@pytest.mark.parametrize(
    ("change", "name"), [(_hooked, "norm"), (_other_norm, "input_layernorm"), (_other_embedding, "embed_tokens")]
)
def test_what_is_read_and_would_have_to_be_called_is_refused(change, name):
    model = language_model(tie_word_embeddings=False)
    change(model)
    with pytest.raises(ValueError, match=f"the engine reads {name} as .*merge its adapter"):
        FusedWeights(model)


def test_a_layer_whose_forward_was_replaced_is_left_alone():
    model = language_model()
    layer = model.model.layers[0].self_attn.o_proj
    layer.forward = lambda x: 2 * nn.functional.linear(x, layer.weight)  # as accelerate does
    assert FusedWeights(model).layers[0].out is None


def test_a_model_that_lies_on_no_device_as_a_whole_is_refused():
    model = language_model()
    model.model.layers[1].to("meta")
    with pytest.raises(ValueError, match="lies on one device as a whole, not on cpu, meta: load it without device_map"):
        FusedWeights(model)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft reads it by its old name
def test_switching_adapters_and_moving_a_buffer_is_another_version():
    peft = pytest.importorskip("peft", reason="the extra [train] is not installed")
    model = language_model(use_moe=True, use_router_bias=True)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.add_adapter("other", peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    weights = FusedWeights(model)
    versions = [weights.version]
    assert weights.version == versions[0]
    adapted.set_adapter("other")
    versions.append(weights.version)
    adapted.base_model.disable_adapter_layers()
    versions.append(weights.version)
    next(model.buffers()).add_(1)
    versions.append(weights.version)
    assert len(set(versions)) == 4


def test_layers_of_two_dtypes_are_not_joined():
    model = language_model()
    model.model.layers[0].self_attn.k_proj.to(torch.float64)
    assert FusedWeights(model).layers[0].qkv is None


def test_a_parametrised_layer_is_not_plain():
    linear = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    assert not is_plain(linear)
    assert is_plain(nn.Linear(4, 4))
