"""The experts: every implementation gives the same numbers, autocast reaches them, disk holds single ones."""

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

from sightline.config import LLMConfig
from sightline.nn.language import CausalLM
from sightline.nn.moe import MixtureOfExperts

IMPLEMENTATIONS = ["eager", "batched_mm", "grouped_mm"]


def moe_config(**fields):
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    experts = {"use_moe": True, "n_routed_experts": 4, "num_experts_per_token": 2, "moe_intermediate_size": 8}
    return LLMConfig(**{**sizes, **experts, "num_hidden_layers": 2, **fields})


def mixture(implementation, **fields):
    torch.manual_seed(0)
    config = moe_config(initializer_range=0.5, experts_implementation=implementation, **fields)
    return MixtureOfExperts(config)


@pytest.fixture
def matmuls(monkeypatch):
    """The (input, weight) dtypes of each grouped_mm that ran."""
    seen, original = [], F.grouped_mm

    def counted(rows, weight, **kwargs):
        seen.append((rows.dtype, weight.dtype))
        return original(rows, weight, **kwargs)

    monkeypatch.setattr(F, "grouped_mm", counted)
    return seen


def run_with_gradients(implementation):
    moe = mixture(implementation)
    hidden = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
    out, _ = moe(hidden)
    out.square().sum().backward()
    return [out.detach(), hidden.grad, *(parameter.grad for parameter in moe.parameters())]


def test_all_implementations_give_the_same_outputs_and_gradients():
    eager, batched, grouped = (run_with_gradients(name) for name in IMPLEMENTATIONS)
    torch.testing.assert_close(batched, eager, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(grouped, eager, atol=1e-4, rtol=1e-4)


def test_one_expert_equals_its_formula():
    moe = mixture("eager", n_routed_experts=1, num_experts_per_token=1)
    hidden = torch.randn(1, 3, 16)
    gate, up = moe.experts.gate_up_proj[0].split(8)
    expected = (F.silu(hidden @ gate.T) * (hidden @ up.T)) @ moe.experts.down_proj[0].T
    torch.testing.assert_close(moe(hidden)[0], expected)


def test_grouped_mm_really_runs_in_a_model_and_can_be_switched(matmuls):
    model = CausalLM(moe_config())
    tokens = torch.arange(6)[None]
    model(tokens)
    assert len(matmuls) == 2 * 2, "two matmuls in each of two layers, by default"
    model.set_experts_implementation("eager")
    model(tokens)
    assert len(matmuls) == 4
    model.set_experts_implementation("grouped_mm")
    model(tokens)
    assert len(matmuls) == 8


def test_the_implementation_can_be_given_to_the_config(matmuls):
    CausalLM(moe_config(experts_implementation="batched_mm"))(torch.arange(6)[None])
    assert matmuls == []


@pytest.mark.parametrize("fields", [{"moe_intermediate_size": 12}, {"hidden_size": 20}])
def test_widths_that_are_no_multiple_of_8_go_eager(matmuls, fields):
    grouped, eager = mixture("grouped_mm", **fields), mixture("eager", **fields)
    hidden = torch.randn(2, 3, grouped.gate.weight.shape[1])
    assert torch.equal(grouped(hidden)[0], eager(hidden)[0])
    assert matmuls == []


def test_grouped_mm_runs_in_bf16_under_autocast_and_trains_fp32_weights(matmuls):
    moe = mixture("grouped_mm")
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = moe(torch.randn(2, 3, 16))
    out.float().square().sum().backward()
    assert matmuls == [(torch.bfloat16, torch.bfloat16)] * 2
    for weight in (moe.experts.gate_up_proj, moe.experts.down_proj):
        assert weight.dtype == weight.grad.dtype == torch.float32
        assert weight.grad.abs().sum() > 0


def test_all_implementations_agree_under_autocast():
    hidden = torch.randn(2, 3, 16)
    exact = mixture("eager")(hidden)[0]
    for name in IMPLEMENTATIONS:
        with torch.autocast("cpu", torch.bfloat16):
            out, _ = mixture(name)(hidden)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), exact, atol=0.02 * exact.abs().max().item(), rtol=0)


def test_autocast_is_on_again_after_the_experts():
    moe = mixture("eager")
    with torch.autocast("cpu", torch.bfloat16):
        moe(torch.randn(1, 2, 16))
        assert torch.is_autocast_enabled("cpu")


def test_disk_holds_single_experts_and_loads_equal(tmp_path):
    model = CausalLM(moe_config(use_router_bias=True, n_shared_experts=1))
    for block in model.model.layers:
        block.mlp.gate.e_score_correction_bias.normal_()
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        keys = [key for key in file.keys() if "layers.1.mlp.experts" in key]  # noqa: SIM118
        gate = file.get_tensor("model.layers.1.mlp.experts.2.gate_proj.weight")
    names = ("gate_proj", "up_proj", "down_proj")
    assert sorted(keys) == sorted(f"model.layers.1.mlp.experts.{i}.{n}.weight" for i in range(4) for n in names)
    assert torch.equal(gate, model.model.layers[1].mlp.experts.gate_up_proj[2, :8])
    assert_same_weights(CausalLM.from_pretrained(tmp_path), model)


def assert_same_weights(ours, theirs):
    a, b = ours.state_dict(), theirs.state_dict()
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def test_a_bf16_checkpoint_keeps_the_selection_bias_in_fp32(tmp_path):
    model = CausalLM(moe_config(use_router_bias=True))
    model.model.layers[0].mlp.gate.e_score_correction_bias.fill_(0.1234567)
    model.save_pretrained(tmp_path)
    loaded = CausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    gate = loaded.model.layers[0].mlp.gate
    assert gate.weight.dtype == torch.bfloat16
    assert torch.equal(gate.e_score_correction_bias, torch.full((4,), 0.1234567))


def test_gradient_checkpointing_gives_the_same_gradients():
    tokens, gradients = torch.arange(6)[None], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = CausalLM(moe_config()).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(tokens, labels=tokens, use_cache=False).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)
