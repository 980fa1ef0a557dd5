"""The projector's shapes, its two kinds, and the folding of neighbouring patches."""

import pytest
import torch
from torch import nn

from sightline.nn.projector import VisionEncoder, pixel_shuffle


def test_linear_is_the_default_and_one_layer():
    projector = VisionEncoder(6, 10)
    assert isinstance(projector.vision_proj, nn.Sequential)
    assert len(projector.vision_proj) == 1
    assert (projector.ve_hidden_size, projector.hidden_size) == (6, 10)
    features = torch.randn(2, 3, 4, 6)
    out = projector(features)
    assert out.shape == (2, 3, 4, 10)
    layer = projector.vision_proj[0]
    torch.testing.assert_close(out, features @ layer.weight.T + layer.bias)


def test_mlp_is_two_layers_with_the_activation_between():
    projector = VisionEncoder(6, 10, projector_type="mlp", hidden_act="relu", bias=False)
    first, second = projector.vision_proj[0], projector.vision_proj[2]
    features = torch.randn(4, 6)
    torch.testing.assert_close(projector(features), (features @ first.weight.T).relu() @ second.weight.T)
    assert first.bias is None


def test_pixel_shuffle_folds_squares_of_neighbours():
    grid = torch.arange(16.0).view(16, 1)  # 4 x 4 patches in reading order
    folded = pixel_shuffle(grid, 2)
    assert folded.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_pixel_shuffle_in_the_projector_keeps_leading_dimensions():
    projector = VisionEncoder(6, 10, pixel_shuffle_factor=2)
    assert projector.vision_proj[0].in_features == 24
    assert projector(torch.randn(2, 3, 16, 6)).shape == (2, 3, 4, 10)


@pytest.mark.parametrize("patches", [15, 9])
def test_patches_that_cannot_be_folded_are_refused(patches):
    with pytest.raises(ValueError, match=f"{patches} patches are no square whose side is divisible by 2"):
        pixel_shuffle(torch.randn(patches, 3), 2)
