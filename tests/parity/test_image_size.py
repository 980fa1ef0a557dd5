"""A model for pictures of another size sees what the one it comes from saw, as far as the grid allows."""

from copy import deepcopy

import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

import sightline
from sightline.interop.image_size import interpolated, resized


@pytest.fixture(scope="module")
def loaded():
    return sightline.load("sightline-tiny", device="cpu", dtype="float32")


def test_the_same_grid_stays_as_it_is_and_before_it_what_stands_before():
    positions = torch.randn(1 + 16, 8)
    assert torch.allclose(interpolated(positions, 4, 4), positions, atol=1e-6)
    assert torch.equal(interpolated(positions, 4, 6)[:1], positions[:1])
    assert interpolated(positions, 4, 6).shape == (1 + 36, 8)
    assert interpolated(positions[1:], 4, 2).shape == (4, 8)


def test_a_grid_that_rises_along_an_axis_rises_along_it_after():
    """Rows and columns are not exchanged, and the order of patches is the tower's."""
    rows = torch.arange(4.0).repeat_interleave(4)[:, None]
    finer = interpolated(torch.cat([torch.zeros(1, 1), rows]), 4, 8)[1:, 0].reshape(8, 8)
    assert (finer.diff(dim=0) > 0).all()
    assert torch.allclose(finer, finer[:, :1].expand(8, 8), atol=1e-5)


def test_as_transformers_interpolates_clips_positions(loaded):
    """transformers interpolates whenever a picture comes in; here it is done once."""
    model, processor = loaded
    larger, _ = resized(model, processor, 320)
    pixels = torch.randn(2, 3, 320, 320)
    embeddings = model.vision_encoder.vision_model.embeddings
    theirs = embeddings(pixels, interpolate_pos_encoding=True)
    ours = larger.vision_encoder.vision_model.embeddings(pixels)
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_all_that_follows_from_the_size_is_counted_anew(loaded, tmp_path):
    model, processor = loaded
    larger, fitted = resized(model, processor, 320)
    assert larger.config.num_image_tokens == fitted.num_image_tokens == len(larger.config.image_ids) == 400
    assert model.config.num_image_tokens == processor.num_image_tokens == 196
    for name, weight in model.state_dict().items():
        if "position_embedding" not in name:
            assert torch.equal(larger.state_dict()[name], weight)
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    answer = [{"role": "assistant", "content": [{"type": "text", "text": "This."}]}]
    batch = fitted.encode_for_training([(asked + answer, [Image.new("RGB", (90, 50), "red")])])
    assert batch["pixel_values"].shape == (1, 3, 320, 320)
    assert int((batch["input_ids"] == fitted.image_token_id).sum()) == 400
    with torch.no_grad():
        expected = larger(**batch).logits
        larger.save_pretrained(tmp_path)
        fitted.save_pretrained(tmp_path)
        again, same = sightline.load(tmp_path, device="cpu", dtype="float32")
        assert same.num_image_tokens == 400
        assert torch.equal(again(**batch).logits, expected)


def test_a_crop_keeps_its_share_of_the_picture(loaded):
    model, processor = loaded
    cropping = deepcopy(processor)
    cropping.image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}
    )
    _, fitted = resized(model, cropping, 448)
    settings = fitted.image_processor.to_dict()
    assert settings["size"]["shortest_edge"] == 512
    assert dict(settings["crop_size"]) == {"height": 448, "width": 448}


def test_the_size_that_it_has_changes_nothing(loaded):
    model, processor = loaded
    assert resized(model, processor, 224) == (model, processor)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (225, r"image_size=225 is no multiple of patch_size=16"),
        (512, r"a picture of 512 pixels has 1024 tokens, and the model reads 1024 in all: take a smaller one"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(loaded, size, message):
    with pytest.raises(ValueError, match=message) as caught:
        resized(*loaded, size)
    assert "\n" not in str(caught.value)
