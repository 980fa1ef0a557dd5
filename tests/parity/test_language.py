"""`CausalLM` against transformers, family by family: the same weights give the same numbers."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Glm4MoeConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)
from transformers.cache_utils import DynamicCache

from sightline.config import LLMConfig
from sightline.interop.families import FAMILIES, from_transformers_config
from sightline.interop.language import causal_lm_from_transformers, copy_weights
from sightline.nn.language import CausalLM

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts_per_tok": 2, "router_aux_loss_coef": 0.05}
QWEN3_MOE = {"num_experts": 8, "moe_intermediate_size": 16, "norm_topk_prob": True, "mlp_only_layers": [1]}
GLM4_MOE = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_shared_experts": 2,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 1.5,
    "first_k_dense_replace": 1,
    "use_qk_norm": True,
    "attention_bias": True,
    "head_dim": 16,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama-bias": LlamaConfig(**SIZES, attention_bias=True, head_dim=16),
    "mistral": MistralConfig(**SIZES, sliding_window=4),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
    "mixtral": MixtralConfig(**SIZES, **EXPERTS, num_local_experts=4),
    "qwen3_moe": Qwen3MoeConfig(**SIZES, **EXPERTS, **QWEN3_MOE),
    "glm4_moe": Glm4MoeConfig(**SIZES, **GLM4_MOE),
}
SCALED_ROPE = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16, "mscale": 0.7},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}
PAIRS = {}


def randomised(config):
    """A transformers model with random weights everywhere, norms, biases and buffers too."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.normal_(std=0.15)
            if "norm" in name:
                tensor.add_(1.0)
    return model


@pytest.fixture(params=CONFIGS)
def pair(request):
    if request.param not in PAIRS:
        theirs = randomised(CONFIGS[request.param])
        PAIRS[request.param] = theirs, causal_lm_from_transformers(theirs)
    theirs, ours = PAIRS[request.param]
    for model in (theirs, ours):
        model.set_attn_implementation("sdpa")
        model.zero_grad()
    return theirs, ours


def padded_batch(side):
    tokens = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens)
    mask[1, slice(0, 5) if side == "left" else slice(7, 12)] = 0
    return tokens * mask, mask


def assert_near(ours, theirs, limit=1e-4):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= limit


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_logits_of_a_padded_batch(pair, side, attention):
    theirs, ours = pair
    theirs.set_attn_implementation(attention)
    ours.set_attn_implementation(attention)
    tokens, mask = padded_batch(side)
    expected = theirs(tokens, attention_mask=mask).logits[mask.bool()]
    assert expected.std() > 0.3, "a model that says nothing proves nothing"
    assert_near(ours(tokens, attention_mask=mask).logits[mask.bool()], expected)


@torch.no_grad()
def test_decoding_with_a_cache(pair):
    theirs, ours = pair
    tokens, mask = padded_batch("left")
    expected = theirs(tokens, attention_mask=mask).logits[:, 6:]
    cache = DynamicCache(config=ours.config)
    steps = [ours(tokens[:, :7], attention_mask=mask[:, :7], past_key_values=cache, use_cache=True).logits[:, -1:]]
    for i in range(7, 12):
        step = ours(tokens[:, i : i + 1], attention_mask=mask[:, : i + 1], past_key_values=cache, use_cache=True)
        steps.append(step.logits)
    assert_near(torch.cat(steps, dim=1), expected)


def test_greedy_tokens(pair):
    tokens, mask = padded_batch("left")
    expected, found = (
        model.generate(tokens, attention_mask=mask, max_new_tokens=10, do_sample=False) for model in pair
    )
    assert torch.equal(found, expected)


def test_loss_and_every_gradient(pair):
    tokens, mask = padded_batch("right")
    labels = torch.where(mask.bool(), tokens, -100)
    losses = []
    for model in pair:
        # Ours adds the balance loss whenever it trains on labels; theirs only if asked, and not in every family.
        asked = {"output_router_logits": True} if "router_aux_loss_coef" in model.config.to_dict() else {}
        losses.append(model(tokens, attention_mask=mask, labels=labels, **asked).loss)
        losses[-1].backward()
    assert_near(losses[1], losses[0], 1e-5)
    theirs, ours = (dict(model.named_parameters()) for model in pair)
    for name, weight in theirs.items():
        largest = weight.grad.abs().max().item()
        assert largest > 0, name
        assert_near(ours[name].grad, weight.grad, 1e-3 * largest + 1e-7)


@pytest.mark.parametrize("kind", SCALED_ROPE)
@torch.no_grad()
def test_scaled_rope_within_and_beyond_the_trained_length(kind):
    rope = {"rope_type": kind, "rope_theta": 500.0, **SCALED_ROPE[kind]}
    theirs = randomised(LlamaConfig(**SIZES, rope_parameters=rope))
    ours = causal_lm_from_transformers(theirs)
    for length in (10, 90, 10):  # dynamic scaling grows beyond 64 and must shrink again
        tokens = torch.randint(3, 96, (1, length))
        assert_near(ours(tokens).logits, theirs(tokens).logits)


def test_scaled_rope_differs_from_plain_rope():
    tokens, seen = torch.arange(3, 40)[None], []
    for kind, options in {"default": {}, **SCALED_ROPE}.items():
        if kind == "dynamic":
            continue  # equal to plain up to the trained length
        rope = {"rope_type": kind, "rope_theta": 500.0, **options}
        model = causal_lm_from_transformers(randomised(LlamaConfig(**SIZES, rope_parameters=rope)))
        seen.append(model(tokens).logits)
    assert all((seen[0] - other).abs().max() > 1e-2 for other in seen[1:])


def test_every_family_of_the_table_is_tested():
    assert {config.model_type for config in CONFIGS.values()} == set(FAMILIES)


def test_saved_and_reloaded_it_is_the_same_model(pair, tmp_path):
    _, ours = pair
    ours.save_pretrained(tmp_path)
    again = CausalLM.from_pretrained(tmp_path)
    tokens, _ = padded_batch("left")
    assert torch.equal(again(tokens).logits, ours(tokens).logits)


def test_a_part_of_each_head_is_turned_by_glm_alone():
    rope = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}
    with pytest.raises(ValueError, match=r"partial_rotary_factor=0\.5 of a 'llama' model is not supported"):
        from_transformers_config(LlamaConfig(**SIZES, rope_parameters=rope))


def test_a_folder_that_lacks_a_weight_is_not_made_up(tmp_path):
    theirs = randomised(LlamaConfig(**SIZES))
    lacking = {name: weight for name, weight in theirs.state_dict().items() if "layers.1.mlp.up" not in name}
    theirs.save_pretrained(tmp_path, state_dict=lacking)
    with pytest.raises(ValueError, match=r"lacks the weight model\.layers\.1\.mlp\.up_proj\.weight"):
        causal_lm_from_transformers(tmp_path)


@pytest.mark.parametrize("pair", ["llama", "mixtral"], indirect=True)
def test_a_folder_of_transformers_converts(pair, tmp_path):
    theirs, ours = pair
    theirs.save_pretrained(tmp_path)
    taken = causal_lm_from_transformers(tmp_path)
    tokens = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert torch.equal(taken(tokens).logits, ours(tokens).logits)
    from_folder = taken.state_dict()
    assert [key for key, weight in ours.state_dict().items() if not torch.equal(weight, from_folder[key])] == []


def test_the_dtype_is_kept():
    theirs = randomised(CONFIGS["glm4_moe"]).to(torch.bfloat16)
    ours = causal_lm_from_transformers(theirs)
    assert {weight.dtype for weight in ours.parameters()} == {torch.bfloat16}
    assert ours.model.layers[1].mlp.gate.e_score_correction_bias.dtype == torch.float32
    assert ours.model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LlamaConfig(**SIZES, mlp_bias=True), "mlp_bias=True of a 'llama'"),
        (LlamaConfig(**SIZES, attention_sinks=4), "attention_sinks=4"),
        (LlamaConfig(**SIZES, attention_dropout=0.1), "attention_dropout=0.1"),
        (MixtralConfig(**SIZES, router_jitter_noise=0.1), "router_jitter_noise=0.1"),
        (Phi3Config(**SIZES), "model_type='phi3' is none of glm4_moe, llama"),
        (Qwen2Config(**SIZES, use_sliding_window=True, max_window_layers=1), "layer_types="),
        (
            LlamaConfig(
                **SIZES,
                rope_parameters={
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                    "factor": 2.0,
                    "original_max_position_embeddings": 32,
                },
            ),
            "rope_type='longrope'",
        ),
    ],
)
def test_what_ours_cannot_compute_is_refused_by_name(config, message):
    with pytest.raises(ValueError, match=message):
        from_transformers_config(config)


def test_undeclared_fields_that_are_off_are_harmless():
    assert isinstance(from_transformers_config(LlamaConfig(**SIZES, use_mrope=False)), LLMConfig)


def test_a_key_left_over_missing_or_misshapen_is_an_error_that_names_it():
    ours = CausalLM(from_transformers_config(CONFIGS["llama"]))
    weights = ours.state_dict()
    with pytest.raises(ValueError, match=r"extra\.weight is left over"):
        copy_weights(ours, weights | {"extra.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"model\.norm\.weight is missing"):
        copy_weights(ours, {key: weight for key, weight in weights.items() if key != "model.norm.weight"})
    with pytest.raises(ValueError, match=r"model\.norm\.weight is \[3\] instead of \[32\]"):
        copy_weights(ours, weights | {"model.norm.weight": torch.zeros(3)})
