"""The balance losses, the z-loss and the selection bias: their formulas, and that padding weighs nothing."""

import pytest
import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from sightline.config import LLMConfig
from sightline.nn.balance import balance_loss, router_z_loss, update_router_bias, update_router_biases
from sightline.nn.language import CausalLM
from sightline.nn.moe import MixtureOfExperts, Routing


def moe_config(**fields):
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    experts = {"use_moe": True, "n_routed_experts": 4, "num_experts_per_token": 2, "moe_intermediate_size": 8}
    return LLMConfig(**{**sizes, **experts, "num_hidden_layers": 2, **fields})


def routings(layers=3, tokens=10, experts=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for_layers = [torch.randn(tokens, experts, generator=generator) for _ in range(layers)]
    return [Routing(logits, logits.topk(2).indices) for logits in for_layers]


MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])


@pytest.mark.parametrize("mask", [None, MASK])
def test_switch_form_equals_transformers(mask):
    given = routings()
    expected = load_balancing_loss_func(tuple(r.logits for r in given), 4, 2, mask)
    torch.testing.assert_close(balance_loss(given, moe_config(), mask), expected)


def sequence_loss(logits, chosen):
    """DeepSeekMoE, eq. 12 to 14, written for one sequence of one layer."""
    tokens, experts = logits.shape
    top_k = chosen.shape[1]
    frequency = torch.bincount(chosen.flatten(), minlength=experts) * experts / (top_k * tokens)
    return (frequency * logits.softmax(-1).mean(0)).sum()


def test_deepseek_form_is_the_mean_over_sequences_and_layers():
    given = routings()
    rows = [MASK[i].bool() for i in range(2)]
    expected = [
        sequence_loss(r.logits.view(2, 5, 4)[i][row], r.experts.view(2, 5, 2)[i][row])
        for r in given
        for i, row in enumerate(rows)
    ]
    found = balance_loss(given, moe_config(seq_aux=True), MASK)
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_the_batch_size_may_replace_the_mask():
    config = moe_config(seq_aux=True)
    with_mask = balance_loss(routings(), config, torch.ones(2, 5))
    torch.testing.assert_close(balance_loss(routings(), config, batch_size=2), with_mask)
    with pytest.raises(ValueError, match="attention_mask or batch_size"):
        balance_loss(routings(), config)


@pytest.mark.parametrize(("seq_aux", "least"), [(False, 2.0), (True, 1.0)])
def test_the_least_value_is_at_balance(seq_aux, least):
    logits = torch.eye(4)
    even = [Routing(logits, torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]]))]
    uneven = [Routing(logits, torch.tensor([[0, 1]] * 4))]
    config = moe_config(seq_aux=seq_aux)
    assert balance_loss(even, config, torch.ones(1, 4)).item() == pytest.approx(least)
    skewed = Routing(torch.tensor([[3.0, 3, 0, 0]] * 4), uneven[0].experts)
    assert balance_loss([skewed], config, torch.ones(1, 4)).item() > least


def test_z_loss_is_the_mean_squared_logsumexp_of_real_tokens():
    given = routings()
    real = MASK.flatten().bool()
    expected = torch.stack([r.logits[real].exp().sum(-1).log().square().mean() for r in given]).mean()
    torch.testing.assert_close(router_z_loss(given, MASK), expected)


def test_the_mask_may_also_cover_the_cache():
    longer = torch.cat([torch.zeros(2, 3, dtype=torch.long), MASK], dim=1)
    torch.testing.assert_close(router_z_loss(routings(), longer), router_z_loss(routings(), MASK))


def test_a_mask_of_another_size_is_an_error_with_both_numbers():
    with pytest.raises(ValueError, match="10 tokens, but attention_mask is 3 x 4"):
        router_z_loss(routings(), torch.ones(3, 4))


def test_without_one_real_token_all_losses_are_zero():
    nothing = torch.zeros(2, 5)
    assert balance_loss(routings(), moe_config(), nothing) == 0
    assert balance_loss(routings(), moe_config(seq_aux=True), nothing) == 0
    assert router_z_loss(routings(), nothing) == 0


def padded(tokens, left, right):
    ids = torch.nn.functional.pad(tokens, (left, right), value=9)
    mask = torch.nn.functional.pad(torch.ones_like(tokens), (left, right))
    labels = torch.where(mask.bool(), ids, -100)
    labels[:, left] = -100  # after left padding something would predict the first token, alone nothing does
    return ids, mask, labels


@pytest.mark.parametrize(
    "fields", [{}, {"seq_aux": True}, {"scoring_func": "sigmoid", "seq_aux": True, "n_shared_experts": 1}]
)
@pytest.mark.parametrize(("left", "right"), [(3, 0), (0, 4)])
def test_padding_changes_no_loss_nor_the_bias(fields, left, right):
    torch.manual_seed(0)
    config = moe_config(use_router_bias=True, aux_loss_alpha=0.1, router_z_loss_alpha=0.1, **fields)
    model = CausalLM(config).train()
    tokens, seen = torch.randint(64, (2, 7)), []
    for ids, mask, labels in (padded(tokens, 0, 0), padded(tokens, left, right)):
        for block in model.model.layers:
            block.mlp.gate.e_score_correction_bias.zero_()
        out = model(ids, attention_mask=mask, labels=labels)
        update_router_biases(model, out.router, mask, rate=0.01)
        biases = [block.mlp.gate.e_score_correction_bias.clone() for block in model.model.layers]
        seen.append([out.loss.detach(), out.aux_loss.detach(), out.z_loss.detach(), *biases])
    torch.testing.assert_close(*seen, atol=1e-5, rtol=1e-5)


def test_the_losses_are_added_with_their_coefficients():
    model = CausalLM(moe_config(aux_loss_alpha=0.3, router_z_loss_alpha=0.7)).train()
    tokens = torch.arange(6)[None]
    out = model(tokens, labels=tokens)
    words = torch.nn.functional.cross_entropy(out.logits[0, :-1], tokens[0, 1:])
    torch.testing.assert_close(out.loss, words + 0.3 * out.aux_loss + 0.7 * out.z_loss)
    torch.testing.assert_close(model.eval()(tokens, labels=tokens).loss, out.loss)


def test_the_losses_reach_the_router():
    model = CausalLM(moe_config()).train()
    out = model(torch.arange(6)[None])
    (out.aux_loss + out.z_loss).backward()
    assert model.model.layers[1].mlp.gate.weight.grad.abs().sum() > 0


def test_the_bias_moves_toward_balance_by_the_rate():
    moe = MixtureOfExperts(moe_config(use_router_bias=True, num_experts_per_token=1))
    routing = Routing(torch.zeros(4, 4), torch.tensor([[0], [0], [1], [3]]))
    # Of the real tokens two chose expert 0, one chose expert 1; the mean load is 3/4.
    update_router_bias(moe, routing, torch.tensor([[1, 1, 1, 0]]), rate=0.5)
    assert moe.gate.e_score_correction_bias.tolist() == [-0.5, -0.5, 0.5, 0.5]


def test_the_bias_stays_at_balance():
    moe = MixtureOfExperts(moe_config(use_router_bias=True, num_experts_per_token=1))
    update_router_bias(moe, Routing(torch.zeros(4, 4), torch.arange(4)[:, None]), None, rate=0.5)
    assert moe.gate.e_score_correction_bias.tolist() == [0.0] * 4


def test_counts_of_other_ranks_are_added_first():
    moe = MixtureOfExperts(moe_config(use_router_bias=True, num_experts_per_token=1))
    routing = Routing(torch.zeros(2, 4), torch.tensor([[0], [0]]))
    elsewhere = torch.tensor([0.0, 6, 0, 0])
    update_router_bias(moe, routing, None, 0.5, sum_over_ranks=lambda load: load.add_(elsewhere))
    assert moe.gate.e_score_correction_bias.tolist() == [0.0, -0.5, 0.5, 0.5]


def test_a_missing_bias_or_a_wrong_number_of_layers_is_an_error():
    moe = MixtureOfExperts(moe_config())
    with pytest.raises(ValueError, match="use_router_bias=False"):
        update_router_bias(moe, routings()[0], None, 0.1)
    with pytest.raises(ValueError, match="1 sparse layers, but there are 3 routings"):
        update_router_biases(moe, routings(), None, 0.1)


def test_updating_the_bias_evens_out_the_load():
    torch.manual_seed(0)
    moe = MixtureOfExperts(moe_config(use_router_bias=True, scoring_func="sigmoid", initializer_range=0.3))
    moe.gate.e_score_correction_bias.copy_(torch.tensor([0.5, -0.5, 0.0, 0.0]))
    tokens, spread = torch.randn(64, 16), []
    for _ in range(60):
        routing, _ = moe.gate(tokens)
        spread.append(torch.bincount(routing.experts.flatten(), minlength=4).float().std().item())
        update_router_bias(moe, routing, None, rate=0.01)
    assert spread[-1] < 0.3 * spread[0]
