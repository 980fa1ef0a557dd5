"""Attention and rotary embeddings: their formulas, masks, and every implementation giving the same."""

import inspect
import subprocess
import sys

import pytest
import torch
from tiny import tiny_vlm
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from sightline.config import LLMConfig
from sightline.nn.attention import Attention, RMSNorm, causal_mask, positions
from sightline.nn.language import LLM
from sightline.nn.rope import RotaryEmbedding, rotate

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}


def test_rms_norm_is_x_over_its_rms_in_fp32():
    norm = RMSNorm(8, 1e-6)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 8)
    torch.testing.assert_close(norm(x), norm.weight * x / x.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt())
    large = torch.full((1, 8), 1e4, dtype=torch.float16)  # its square is beyond float16
    assert norm.half()(large).isfinite().all()


SCALINGS = [
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
]


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling["rope_type"])
@pytest.mark.parametrize("length", [20, 100])
def test_rope_and_its_scalings_are_transformers(scaling, length):
    parameters = {"rope_theta": 5e3, **scaling}
    ours = RotaryEmbedding(LLMConfig(**SIZES, rope_parameters=parameters))
    theirs = LlamaRotaryEmbedding(LlamaConfig(**SIZES, rope_parameters=dict(parameters)))
    x, position_ids = torch.randn(1, length, 8), torch.arange(length)[None]
    for mine, reference in zip(ours(x, position_ids), theirs(x, position_ids), strict=True):
        torch.testing.assert_close(mine, reference)


def test_an_unknown_rope_type_is_refused():
    with pytest.raises(ValueError, match="rope_type='spiral' is none of"):
        RotaryEmbedding(LLMConfig(**SIZES, rope_parameters={"rope_type": "spiral", "rope_theta": 1e4}))


def test_rotated_products_depend_on_the_distance_alone():
    rope = RotaryEmbedding(LLMConfig(**SIZES))
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(at, other):
        turned = [rotate(x, *rope(x[0], torch.tensor([[p]]))) for x, p in ((query, at), (key, other))]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(product(3, 1), product(40, 38))
    assert (product(3, 1) - product(3, 2)).abs() > 1e-4


def test_only_the_first_part_turns_with_a_partial_rotary_factor():
    config = LLMConfig(**SIZES, rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5})
    x = torch.randn(1, 4, 5, 8)
    turned = rotate(x, *RotaryEmbedding(config)(x[0], torch.arange(5)[None]))
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert not torch.allclose(turned[:, :, 1:, :4], x[:, :, 1:, :4])


def test_angles_are_exact_under_autocast():
    rope, x, far = RotaryEmbedding(LLMConfig(**SIZES)), torch.randn(1, 1, 8), torch.tensor([[1001]])
    exact = rope(x, far)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rope(x, far)[0], exact[0])


def test_positions_count_real_tokens():
    embeds = torch.zeros(2, 4, 1)
    assert positions(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]), 0, embeds).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
    assert positions(torch.ones(2, 6), 2, embeds).tolist() == [[2, 3, 4, 5]] * 2
    assert positions(None, 3, embeds).tolist() == [[3, 4, 5, 6]]


def boolean_mask(config, seq, attention_mask=None, position_ids=None):
    config._attn_implementation = "eager"
    mask = causal_mask(config, torch.zeros(1, seq, 1), attention_mask, None, position_ids)
    return (mask[0, 0] == 0).int().tolist()


def test_the_masks_of_the_docstring():
    config = LLMConfig(**SIZES)
    assert boolean_mask(config, 3) == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    padded = boolean_mask(config, 3, torch.tensor([[0, 1, 1]]))
    assert padded[1:] == [[0, 1, 0], [0, 1, 1]]
    packed = boolean_mask(config, 3, position_ids=torch.tensor([[0, 1, 0]]))
    assert packed == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    windowed = boolean_mask(LLMConfig(**SIZES, sliding_window=2), 3)
    assert windowed == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]


def test_eager_attention_is_the_formula():
    config = LLMConfig(**SIZES, attn_implementation="eager", qk_norm=True, attention_bias=True)
    attention = Attention(config, 0)
    x, rope = torch.randn(1, 3, 32), RotaryEmbedding(config)
    cos_sin = rope(x, torch.arange(3)[None])
    mask = torch.full((3, 3), float("-inf")).triu(1)[None, None]
    out, weights = attention(x, cos_sin, mask)
    query, key, value = attention._project(x)
    query, key = rotate(query, *cos_sin), rotate(key, *cos_sin)
    for head in range(4):
        scores = query[0, head] @ key[0, head // 2].T / 8**0.5 + mask[0, 0]
        torch.testing.assert_close(weights[0, head], scores.softmax(-1))
    heads = [weights[0, head] @ value[0, head // 2] for head in range(4)]
    torch.testing.assert_close(out[0], attention.o_proj(torch.cat(heads, dim=-1)))


def outputs_of(implementation, **fields):
    torch.manual_seed(0)
    model = LLM(LLMConfig(**SIZES, initializer_range=0.3, attn_implementation=implementation, **fields)).eval()
    ids, mask = torch.arange(1, 15).view(2, 7), torch.ones(2, 7, dtype=torch.long)
    mask[0, :2] = 0
    with torch.no_grad():
        return model(ids, attention_mask=mask).last_hidden_state[mask.bool()]


@pytest.mark.parametrize("sliding_window", [None, 3])
def test_sdpa_agrees_with_eager(sliding_window):
    eager, sdpa = (outputs_of(name, sliding_window=sliding_window) for name in ("eager", "sdpa"))
    torch.testing.assert_close(sdpa, eager, rtol=1e-4, atol=1e-4)


FLEX = """
import torch
from sightline.config import LLMConfig
from sightline.nn.language import LLM
torch.set_num_threads(1)
SIZES = {SIZES}
{outputs_of}
torch.testing.assert_close(outputs_of("flex_attention"), outputs_of("eager"), rtol=1e-4, atol=1e-4)
"""


@pytest.mark.slow
def test_flex_agrees_with_eager():
    # In a process of its own: flex compiles, which the shape checks that tests install would break.
    code = FLEX.format(SIZES=SIZES, outputs_of=inspect.getsource(outputs_of))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_the_implementation_can_be_switched_on_the_model_and_its_tower():
    model = tiny_vlm()
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager"
    assert model.vision_encoder.vision_model.encoder.layers[0].self_attn.config._attn_implementation == "eager"


def test_flash_attention_is_asked_of_transformers():
    # Without its package transformers says so: the name is known, and passed on.
    with pytest.raises((ImportError, ValueError), match=r"(?i)flash"):
        LLM(LLMConfig(**SIZES, attn_implementation="flash_attention_2"))
