"""Regions and names are compared in float32, whatever the matrix products run in."""

import pytest
import torch

from sightline.training.contrast import scaled_cosines


def features():
    torch.manual_seed(0)
    return torch.randn(3, 16), torch.randn(4, 16), torch.tensor(2.5)


def test_autocast_does_not_round_the_logits():
    images, texts, log_scale = features()
    plain = scaled_cosines(images, texts, log_scale)
    with torch.autocast("cpu", torch.bfloat16):
        logits = scaled_cosines(images, texts, log_scale)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, plain)


def test_features_in_bfloat16_are_compared_in_float32():
    images, texts, log_scale = features()
    half = images.bfloat16(), texts.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        logits = scaled_cosines(*half, log_scale)
    assert torch.equal(logits, scaled_cosines(*(one.float() for one in half), log_scale))


@pytest.mark.parametrize(("log_scale", "scale"), [(0.0, 1.0), (9.0, 100.0)])
def test_the_scale_is_an_exponential_and_at_most_100(log_scale, scale):
    images, _, _ = features()
    logits = scaled_cosines(images, images, torch.tensor(log_scale))
    torch.testing.assert_close(logits.diagonal(), torch.full((3,), scale))
