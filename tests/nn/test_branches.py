"""Several questions on one trunk: each branch is computed as if it stood there alone."""

import pytest
import torch

from sightline.nn.attention import branch_positions, causal_mask

from .tiny import IMAGE, tiny_config, tiny_vlm

TRUNK = [1, 40, *IMAGE, 41]
BRANCHES = [[50, 51, 2], [60, 61, 62, 63, 2], [70, 2]]


def packed(pad=0):
    ids = TRUNK + [token for branch in BRANCHES for token in branch] + [0] * pad
    branch = [0] * len(TRUNK) + [n for n, one in enumerate(BRANCHES, start=1) for _ in one] + [-1] * pad
    mask = [1] * (len(ids) - pad) + [0] * pad
    return {
        "input_ids": torch.tensor([ids]),
        "branch_ids": torch.tensor([branch]),
        "attention_mask": torch.tensor([mask]),
    }


def starts():
    first = len(TRUNK)
    for branch in BRANCHES:
        yield first, branch
        first += len(branch)


@pytest.mark.parametrize("pad", [0, 3])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("window", [None, 4, 18])
def test_a_branch_has_the_logits_of_its_conversation_alone(pad, attention, window):
    model = tiny_vlm(attn_implementation=attention, sliding_window=window)
    pixels = torch.randn(1, 3, 32, 32)
    together = model(**packed(pad), pixel_values=pixels, use_cache=False).logits
    for start, branch in starts():
        alone = model(input_ids=torch.tensor([TRUNK + branch]), pixel_values=pixels, use_cache=False).logits
        torch.testing.assert_close(together[:, start : start + len(branch)], alone[:, len(TRUNK) :])
        torch.testing.assert_close(together[:, : len(TRUNK)], alone[:, : len(TRUNK)])


def test_a_window_of_branches_goes_by_the_positions_given():
    config = tiny_config(attn_implementation="eager", sliding_window=2)
    branches, places = torch.tensor([[0, 0, 1, 1, 2]]), torch.tensor([[0, 1, 5, 6, 2]])
    mask = causal_mask(config, torch.zeros(1, 5, 1), None, None, places, branches)
    assert (mask[0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 1, 0, 0, 1],
    ]


def test_an_attention_that_takes_no_mask_is_refused_branches():
    config = tiny_config()
    config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match=r"attn_implementation='flash_attention_2' takes no mask") as caught:
        causal_mask(config, torch.zeros(1, 3, 1), None, None, None, torch.tensor([[0, 1, 2]]))
    assert "\n" not in str(caught.value)


def test_what_another_branch_says_changes_nothing():
    model = tiny_vlm()
    pixels = torch.randn(1, 3, 32, 32)
    batch = packed()
    before = model(**batch, pixel_values=pixels, use_cache=False).logits
    start, branch = next(starts())
    batch["input_ids"][0, start : start + len(branch)] = 90
    after = model(**batch, pixel_values=pixels, use_cache=False).logits
    torch.testing.assert_close(after[:, start + len(branch) :], before[:, start + len(branch) :])
    assert not torch.allclose(after[:, start], before[:, start])


def test_positions_go_on_from_the_trunk_in_every_branch():
    branches = torch.tensor([[0, 0, 1, 1, 2], [0, 0, 0, 0, 0]])
    assert branch_positions(branches).tolist() == [[0, 1, 2, 3, 2], [0, 1, 2, 3, 4]]


def test_branches_go_with_no_cache():
    with pytest.raises(ValueError, match=r"branch_ids go with no cache"):
        tiny_vlm()(**packed(), pixel_values=torch.zeros(1, 3, 32, 32), use_cache=True)
