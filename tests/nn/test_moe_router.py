"""What the router chooses and how much each choice weighs, for every option of the config."""

import subprocess
import sys

import pytest
import torch

from sightline.config import LLMConfig
from sightline.nn.language import CausalLM
from sightline.nn.moe import MixtureOfExperts, Router


def moe_config(**fields):
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    experts = {"use_moe": True, "n_routed_experts": 8, "num_experts_per_token": 2, "moe_intermediate_size": 8}
    return LLMConfig(**{**sizes, **experts, "num_hidden_layers": 2, **fields})


def router_with(logits, **fields):
    """A router over one-hot tokens whose logits are the rows of `logits`."""
    config = moe_config(hidden_size=len(logits), num_attention_heads=1, head_dim=2, **fields)
    router = Router(config)
    with torch.no_grad():
        router.weight.copy_(torch.tensor(logits).T)
    return router


def route(logits, **fields):
    router = router_with(logits, n_routed_experts=len(logits[0]), **fields)
    routing, weights = router(torch.eye(len(logits)))
    return routing, weights


LOGITS = [[2.0, 1.0, 0.0, -1.0], [-3.0, 0.5, 1.5, 4.0]]


def test_softmax_before_topk_renormalised():
    routing, weights = route(LOGITS)
    assert routing.experts.tolist() == [[0, 1], [3, 2]]
    expected = torch.tensor(LOGITS).softmax(-1).gather(1, routing.experts)
    torch.testing.assert_close(weights, expected / expected.sum(-1, keepdim=True))


def test_without_renormalisation_the_weights_are_the_scores():
    routing, weights = route(LOGITS, norm_topk_prob=False)
    torch.testing.assert_close(weights, torch.tensor(LOGITS).softmax(-1).gather(1, routing.experts))


def test_softmax_after_topk_is_over_the_chosen_logits():
    _, weights = route(LOGITS, softmax_after_topk=True, norm_topk_prob=False)
    torch.testing.assert_close(weights, torch.tensor([[2.0, 1.0], [4.0, 1.5]]).softmax(-1))


def test_sigmoid_scores():
    routing, weights = route(LOGITS, scoring_func="sigmoid", norm_topk_prob=False)
    torch.testing.assert_close(weights, torch.tensor(LOGITS).sigmoid().gather(1, routing.experts))


def test_routed_scaling_factor_multiplies_the_weights():
    _, plain = route(LOGITS)
    _, scaled = route(LOGITS, routed_scaling_factor=2.5)
    torch.testing.assert_close(scaled, 2.5 * plain)


@pytest.mark.parametrize("scoring_func", ["softmax", "sigmoid"])
def test_the_bias_changes_the_choice_but_not_the_weights(scoring_func):
    router = router_with(
        LOGITS, n_routed_experts=4, use_router_bias=True, scoring_func=scoring_func, norm_topk_prob=False
    )
    router.e_score_correction_bias.copy_(torch.tensor([0.0, 0.0, 5.0, 5.0]))
    routing, weights = router(torch.eye(2))
    assert {frozenset(row) for row in routing.experts.tolist()} == {frozenset({2, 3})}
    scores = torch.tensor(LOGITS).softmax(-1) if scoring_func == "softmax" else torch.tensor(LOGITS).sigmoid()
    torch.testing.assert_close(weights, scores.gather(1, routing.experts))


def test_softmax_groups_are_ranked_by_their_best_expert():
    # Groups (0, 1), (2, 3), (4, 5): the best single expert is in the first, the best pair is the second.
    logits = [[3.0, -9.0, 2.5, 2.4, 0.0, 0.0]]
    routing, _ = route(logits, n_group=3, topk_group=1)
    assert sorted(routing.experts[0].tolist()) == [0, 1]


def test_sigmoid_groups_are_ranked_by_their_two_best():
    logits = [[3.0, -9.0, 2.5, 2.4, 0.0, 0.0]]
    routing, _ = route(logits, n_group=3, topk_group=1, scoring_func="sigmoid")
    assert sorted(routing.experts[0].tolist()) == [2, 3]


def test_a_negative_biased_score_in_a_kept_group_beats_a_dropped_group():
    router = router_with([[0.0] * 4], n_routed_experts=4, n_group=2, scoring_func="sigmoid", use_router_bias=True)
    router.e_score_correction_bias.copy_(torch.tensor([9.0, -9.0, -1.0, -1.0]))
    routing, _ = router(torch.eye(1))
    assert sorted(routing.experts[0].tolist()) == [0, 1]


def test_groups_of_one_expert_work():
    routing, _ = route(LOGITS, n_group=4, topk_group=2, scoring_func="sigmoid")
    assert routing.experts.tolist() == [[0, 1], [3, 2]]


def test_scores_are_fp32_under_autocast_and_in_a_bf16_model():
    router = Router(moe_config())
    hidden = torch.randn(5, 16)
    exact, _ = router(hidden)
    with torch.autocast("cpu", torch.bfloat16):
        routing, weights = router(hidden)
    assert routing.logits.dtype == weights.dtype == torch.float32
    assert torch.equal(routing.logits, exact.logits)
    half = router.to(torch.bfloat16)
    routing, _ = half(hidden.to(torch.bfloat16))
    expected = hidden.to(torch.bfloat16).float() @ half.weight.float().T
    torch.testing.assert_close(routing.logits, expected)


@pytest.mark.parametrize(
    ("fields", "sparse"),
    [
        ({}, [0, 1, 2, 3]),
        ({"first_k_dense_replace": 3}, [3]),
        ({"decoder_sparse_step": 2}, [1, 3]),
        ({"mlp_only_layers": [1, 2]}, [0, 3]),
        ({"first_k_dense_replace": 1, "decoder_sparse_step": 2, "mlp_only_layers": [3]}, [1]),
    ],
)
def test_which_layers_are_sparse(fields, sparse):
    from sightline.nn.language import LLM

    model = LLM(moe_config(num_hidden_layers=4, **fields))
    assert [i for i, block in enumerate(model.layers) if isinstance(block.mlp, MixtureOfExperts)] == sparse


def test_shared_experts_are_added_to_the_routed():
    torch.manual_seed(0)
    moe = MixtureOfExperts(moe_config(n_shared_experts=2))
    assert moe.shared_experts.gate_proj.weight.shape == (16, 16)
    hidden = torch.randn(2, 3, 16)
    both, _ = moe(hidden)
    shared, moe.shared_experts = moe.shared_experts, None
    torch.testing.assert_close(both, moe(hidden)[0] + shared(hidden))


def test_training_and_evaluation_agree_without_dropout():
    moe = MixtureOfExperts(moe_config())
    hidden = torch.randn(2, 3, 16)
    assert torch.equal(moe.train()(hidden)[0], moe.eval()(hidden)[0])


def test_the_router_learns_through_the_weights():
    moe = MixtureOfExperts(moe_config())
    moe(torch.randn(2, 3, 16))[0].sum().backward()
    assert moe.gate.weight.grad.abs().sum() > 0
    assert not moe(torch.randn(1, 1, 16))[1].experts.requires_grad


COMPILED = """
import torch
from sightline.config import LLMConfig
from sightline.nn.moe import MixtureOfExperts
config = LLMConfig(vocab_size=64, hidden_size=16, num_attention_heads=2, use_moe=True, n_group=2,
                   moe_intermediate_size=8, scoring_func="sigmoid", use_router_bias=True,
                   experts_implementation="grouped_mm")
moe, hidden = MixtureOfExperts(config), torch.randn(2, 3, 16)
compiled = torch.compile(moe, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(hidden)[0], moe(hidden)[0])
with torch.autocast("cpu", torch.bfloat16):
    torch.testing.assert_close(compiled(hidden)[0], moe(hidden)[0])
"""


def test_the_whole_mixture_compiles_into_one_graph():
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_bias_that_a_checkpoint_lacks_begins_at_zero(tmp_path):
    CausalLM(moe_config()).save_pretrained(tmp_path)
    model = CausalLM.from_pretrained(tmp_path, use_router_bias=True)
    biases = [layer.mlp.gate.e_score_correction_bias for layer in model.model.layers]
    assert all(torch.equal(bias, torch.zeros(8)) for bias in biases)
