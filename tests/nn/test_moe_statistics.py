"""Router statistics: load, dead experts and entropy of text and image tokens apart."""

import math

import pytest
import torch

from sightline.nn.moe import Routing
from sightline.nn.router_statistics import router_statistics

# Two samples of three tokens: image, text, text and padding, image, text.
ROUTING = Routing(torch.zeros(6, 4), torch.tensor([[0, 1], [2, 3], [2, 0], [1, 1], [0, 1], [2, 3]]))
MASK = torch.tensor([[1, 1, 1], [0, 1, 1]])
IMAGE = torch.tensor([[True, False, False], [True, True, False]])


def test_each_modality_has_its_own_load_and_padding_has_none():
    [layer] = router_statistics([ROUTING], MASK, IMAGE)
    assert layer["image"]["load"].tolist() == [0.5, 0.5, 0, 0]
    assert layer["image"]["dead_experts"] == 2
    assert layer["image"]["tokens"] == 2
    torch.testing.assert_close(layer["text"]["load"], torch.tensor([1, 0, 3, 2]) / 6)
    assert layer["text"]["dead_experts"] == 1
    assert layer["text"]["tokens"] == 3


def test_entropies_are_in_nats():
    [layer] = router_statistics([ROUTING], MASK, IMAGE)
    assert layer["image"]["entropy"] == pytest.approx(math.log(2))
    assert layer["image"]["token_entropy"] == pytest.approx(math.log(4)), "all logits are equal"
    sure = Routing(torch.tensor([[90.0, 0, 0, 0]]), torch.tensor([[0]]))
    [layer] = router_statistics([sure])
    assert layer["text"]["entropy"] == 0
    assert layer["text"]["token_entropy"] == pytest.approx(0, abs=1e-6)


def test_without_images_all_tokens_are_text():
    layers = router_statistics([ROUTING, ROUTING], scoring_func="sigmoid")
    assert len(layers) == 2
    assert layers[1]["text"]["tokens"] == 6
    assert layers[1]["image"] == {
        "tokens": 0,
        "load": pytest.approx([0, 0, 0, 0]),
        "dead_experts": 4,
        "entropy": 0.0,
        "token_entropy": 0.0,
    }


def test_an_image_mask_of_another_size_is_an_error_with_both_numbers():
    with pytest.raises(ValueError, match="6 tokens, but image_mask has 4"):
        router_statistics([ROUTING], None, IMAGE[:, :2])
