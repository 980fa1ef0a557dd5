"""SDPA in float32 under autocast: the values and gradients that float32 gives, whatever autocast says."""

import pytest
import torch
from torch.testing import assert_close
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sightline.nn.float32_attention import NAME, attend_in_float32, float32_attention
from tests.nn.tiny import IMAGE, tiny_vlm


class Heads(torch.nn.Module):
    """What an implementation reads of the module that calls it."""

    def __init__(self, groups: int, is_causal: bool):
        super().__init__()
        self.num_key_value_groups, self.is_causal = groups, is_causal


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("masked", ["by branches", "causally", "not at all"])
def test_values_and_gradients_are_those_of_sdpa(groups, masked):
    torch.manual_seed(0)
    query = torch.randn(2, 4, 9, 8, requires_grad=True)
    key, value = (torch.randn(2, 4 // groups, 9, 8, requires_grad=True) for _ in range(2))
    mask = (torch.rand(2, 1, 9, 9) < 0.5) | torch.eye(9, dtype=torch.bool) if masked == "by branches" else None
    heads = Heads(groups, is_causal=masked == "causally")
    results = []
    for attend in (float32_attention, ALL_ATTENTION_FUNCTIONS["sdpa"]):
        attended, _ = attend(heads, query, key, value, mask, scaling=0.3)
        attended.sin().sum().backward()
        results.append([attended, *(tensor.grad.clone() for tensor in (query, key, value))])
        query.grad = key.grad = value.grad = None
    assert_close(*results)


def test_autocast_does_not_reach_it():
    torch.manual_seed(0)
    query, key = (torch.randn(1, 2, 50, 8) for _ in range(2))
    value = torch.randn(1, 2, 50, 8, dtype=torch.bfloat16)
    given = (Heads(1, False), query, key, value, None)
    with torch.autocast("cpu", torch.bfloat16):
        attended, _ = float32_attention(*given, scaling=3.0)
        narrow, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](*given, scaling=3.0)
    exact, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](*given[:3], value.float(), None, scaling=3.0)
    assert attended.dtype == torch.bfloat16
    assert torch.equal(attended, exact.bfloat16())
    assert not torch.equal(narrow, exact.bfloat16())


def test_a_model_gives_the_same_by_it_pictures_branches_and_all():
    model = tiny_vlm()
    ids = torch.tensor([[5, *IMAGE, 6, 7, 8, 9, 10, 0], [4, *IMAGE, 6, 7, 8, 9, 10, 11]])
    branches = torch.tensor([[0] * 18 + [1, 1, 2, 2, 0], [0] * 18 + [1, 1, 1, 2, 2]])
    given = {"input_ids": ids, "branch_ids": branches, "attention_mask": (ids > 0).long(), "use_cache": False}
    given["pixel_values"] = torch.randn(2, 1, 3, 32, 32)
    expected = model(**given).logits
    attend_in_float32(model)
    assert {one.config._attn_implementation for one in model.modules() if hasattr(one, "config")} == {NAME}
    real = ids > 0
    assert_close(model(**given).logits[real], expected[real])
