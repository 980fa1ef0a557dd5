"""The whole model: frozen tower, fusion, reload without the tower's folder, and what it refuses."""

import shutil

import pytest
import torch
from PIL import Image
from tiny import IMAGE, left_padded, tiny_config, tiny_vlm, tower_fields
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from sightline.nn.projector import VisionEncoder
from sightline.nn.vlm import VLM

TEXT = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
ONE_IMAGE = torch.tensor([[5, *IMAGE, 6, 7]])


def clip_folder(folder, **vision):
    fields = {k: v for k, v in tower_fields(**vision).items() if k != "model_type"}
    CLIPModel(CLIPConfig(vision_config=fields, text_config=TEXT, projection_dim=8)).save_pretrained(folder)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.image_mean = [0.25, 0.5, 0.75]
    processor.save_pretrained(folder)
    return folder


def test_the_parts_have_the_documents_names_and_types(vlm):
    assert isinstance(vlm.vision_encoder, CLIPModel)
    assert isinstance(vlm.vision_proj, VisionEncoder)
    assert vlm.params is vlm.config


def test_a_config_alone_builds_the_tower_and_says_that_it_is_fresh():
    with pytest.warns(UserWarning, match=r"vision_model_path='/no/such/folder' .* VLM\(config, path\) loads it"):
        model = VLM(tiny_config(vision_model_path="/no/such/folder"))
    assert model.vision_encoder.vision_model.embeddings.patch_embedding.weight.shape == (16, 3, 8, 8)


def test_a_path_loads_the_tower_and_the_config_then_describes_it(tmp_path):
    folder = clip_folder(tmp_path, num_hidden_layers=1)
    model = VLM(params=tiny_config(), vision_model_path=folder)
    loaded, _ = VLM.get_vision_model(folder)
    pixels = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model.encode_images(pixels), VLM.get_image_embeddings(pixels, loaded))
    assert model.config.vision_config.num_hidden_layers == 1
    assert model.config.vision_model_path == str(folder)
    assert not hasattr(model.vision_encoder, "text_model")


def test_a_saved_folder_is_whole_without_the_towers(tmp_path):
    tower = clip_folder(tmp_path / "tower")
    model = VLM(tiny_config(), tower).eval()
    picture = Image.radial_gradient("L").resize((50, 30))
    pixels = VLM.image2tensor(picture, model.processor)
    logits = model(ONE_IMAGE, pixel_values=pixels).logits
    model.save_pretrained(tmp_path / "whole")
    shutil.rmtree(tower)
    again = VLM.from_pretrained(tmp_path / "whole")
    assert torch.equal(VLM.image2tensor(picture, again.processor), pixels)
    torch.testing.assert_close(again(ONE_IMAGE, pixel_values=pixels).logits, logits)


def test_a_tower_that_does_not_fit_is_refused_with_both_numbers(tmp_path):
    clip_folder(tmp_path, hidden_size=24)
    with pytest.raises(ValueError, match="the tower's hidden_size is 24, but ve_hidden_size is 16"):
        VLM(tiny_config(), tmp_path)


def test_a_tower_with_other_patches_is_refused(tmp_path):
    clip_folder(tmp_path, patch_size=16)
    with pytest.raises(ValueError, match="image_ids has 16 ids, but the tower gives 4 image tokens"):
        VLM(tiny_config(), tmp_path)


def test_the_text_half_is_kept_on_request_and_reloads(tmp_path):
    folder = clip_folder(tmp_path / "tower")
    model = VLM(tiny_config(vision_text_config={}), folder)
    ids = torch.tensor([[3, 4]])
    features = model.vision_encoder.get_text_features(ids).pooler_output
    model.save_pretrained(tmp_path / "whole")
    again = VLM.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(again.vision_encoder.get_text_features(ids).pooler_output, features)


def test_a_text_half_that_the_checkpoint_lacks_is_refused(tmp_path):
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=tower_fields())).vision_model.save_pretrained(tmp_path)
    CLIPImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="asks for the tower's text half, but the checkpoint has none"):
        VLM(tiny_config(vision_text_config={}), tmp_path)


def is_frozen(model):
    off = not any(parameter.requires_grad for parameter in model.vision_encoder.parameters())
    return off and not any(module.training for module in model.vision_encoder.modules())


def test_the_tower_is_frozen_also_through_train_and_after_a_reload(tmp_path):
    model = tiny_vlm().train()
    assert is_frozen(model)
    assert model.model.training
    model.save_pretrained(tmp_path)
    again = VLM.from_pretrained(tmp_path)
    assert is_frozen(again)
    assert is_frozen(again.train())
    assert all(parameter.requires_grad for parameter in again.model.parameters())


def test_the_config_can_unfreeze_it(tmp_path, pictures):
    model = tiny_vlm(freeze_vision=False)
    model.save_pretrained(tmp_path)
    again = VLM.from_pretrained(tmp_path).train()
    assert again.vision_encoder.training
    again(ONE_IMAGE, pixel_values=pictures[:1], labels=ONE_IMAGE).loss.backward()
    assert again.vision_encoder.vision_model.embeddings.patch_embedding.weight.grad.abs().sum() > 0


def test_a_frozen_tower_gets_no_gradient_but_the_projector_does(pictures):
    model = tiny_vlm().train()
    model(ONE_IMAGE, pixel_values=pictures[:1], labels=ONE_IMAGE).loss.backward()
    assert all(parameter.grad is None for parameter in model.vision_encoder.parameters())
    assert model.vision_proj.vision_proj[0].weight.grad.abs().sum() > 0


def test_flash_attn_false_makes_model_and_tower_eager():
    model = tiny_vlm(flash_attn=False)
    assert model.config._attn_implementation == "eager"
    assert model.vision_encoder.vision_model.encoder.layers[0].self_attn.config._attn_implementation == "eager"
    fused = tiny_vlm()
    assert fused.config._attn_implementation == "sdpa"
    assert fused.vision_encoder.vision_model.encoder.layers[0].self_attn.config._attn_implementation == "sdpa"


def test_flash_attn_false_also_holds_for_a_loaded_tower(tmp_path):
    model = VLM(tiny_config(flash_attn=False), clip_folder(tmp_path))
    assert model.vision_encoder.vision_model.encoder.layers[0].self_attn.config._attn_implementation == "eager"


def test_eager_and_sdpa_give_the_same_logits(vlm, pictures):
    eager = tiny_vlm(flash_attn=False)
    both = [model(ONE_IMAGE, pixel_values=pictures[:1]).logits for model in (vlm, eager)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)


def test_the_picture_and_its_place_show_in_the_logits(vlm, pictures):
    logits = [vlm(ONE_IMAGE, pixel_values=pictures[i : i + 1]).logits[0, -1] for i in (0, 1)]
    assert (logits[0] - logits[1]).abs().max() > 1e-2


def test_pixels_by_sample_and_flat_are_the_same(vlm, pictures):
    ids = torch.tensor([[5, *IMAGE, 6, *IMAGE], [*IMAGE, *IMAGE, 8, 9]])
    flat = vlm(ids, pixel_values=pictures[:4]).logits
    torch.testing.assert_close(vlm(ids, pixel_values=pictures[:4].view(2, 2, 3, 32, 32)).logits, flat)


def test_mixed_counts_are_each_sample_alone(vlm, pictures):
    rows = [[5, *IMAGE, 6, *IMAGE, 7], [8, 9], [*IMAGE, 9]]
    batch = left_padded(rows)
    logits = vlm(**batch, pixel_values=pictures[:3]).logits[:, -1]
    groups = pictures[:3].split([2, 0, 1])
    for row, group, together in zip(rows, groups, logits, strict=True):
        alone = vlm(torch.tensor([row]), pixel_values=group if len(group) else None).logits[0, -1]
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_right_padding_is_each_sample_alone(vlm, pictures):
    ids = torch.tensor([[5, *IMAGE, 6], [*IMAGE, 0, 0]])
    logits = vlm(ids, attention_mask=(ids != 0).long(), pixel_values=pictures[:2]).logits
    alone = vlm(ids[1:, :16], pixel_values=pictures[1:2]).logits
    torch.testing.assert_close(logits[1, 15], alone[0, 15], rtol=1e-4, atol=1e-4)


def test_no_images_at_all_is_a_language_model(vlm):
    ids = torch.tensor([[5, 6, 7]])
    empty = vlm(ids, pixel_values=torch.zeros(1, 0, 3, 32, 32)).logits
    torch.testing.assert_close(vlm(ids).logits, empty)


def test_count_vision_proj_projects_places_and_cuts(vlm):
    tokens = torch.tensor([[5, *IMAGE, 6, *IMAGE]])
    h, features = torch.randn(1, 34, 32), torch.randn(1, 2, 16, 16)
    projected = vlm.vision_proj(features)
    whole = vlm.count_vision_proj(tokens, h, features)
    expected = torch.cat([h[:, :1], projected[:, 0], h[:, 17:18], projected[:, 1]], dim=1)
    torch.testing.assert_close(whole, expected)
    # Counts are compared before the cut: the second run is whole in the tokens, and filled up to the cut.
    torch.testing.assert_close(vlm.count_vision_proj(tokens, h, features, seqlen=25), expected[:, :25])
    torch.testing.assert_close(vlm.count_vision_proj(tokens, h, features.double()), expected)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 17, 16), r"an image has 17 features behind the projector, but its run 16 tokens.*without \[CLS\]"),
        ((1, 1, 9, 16), "an image has 9 features behind the projector, but its run 16 tokens"),
        ((16, 16), r"vision_tensors are \[batch, N, patches, C\] or \[images, patches, C\], not \[16, 16\]"),
    ],
)
def test_features_that_do_not_fill_their_run_are_refused(vlm, shape, message):
    tokens = torch.tensor([[5, *IMAGE, 6]])
    with pytest.raises(ValueError, match=message):
        vlm.count_vision_proj(tokens, torch.randn(1, 18, 32), torch.randn(shape))
    with pytest.raises(ValueError, match=message):
        vlm(tokens, image_features=torch.randn(shape))


def test_pixel_shuffle_runs_through_the_whole_model(pictures):
    model = tiny_vlm(pixel_shuffle_factor=2, projector_type="mlp")
    logits = model(torch.tensor([[5, 34, 34, 34, 34, 6]]), pixel_values=pictures[:1]).logits
    assert logits.shape == (1, 6, 300)


def test_a_wrong_number_of_images_is_an_error_that_names_the_sample(vlm, pictures):
    ids = torch.tensor([[5, *IMAGE, 6], [7, 8, *IMAGE]])
    two_each = pictures[:4].view(2, 2, 3, 32, 32)
    with pytest.raises(ValueError, match="sample 0: found 1 runs of image placeholders, but 2 images were given"):
        vlm(ids, pixel_values=two_each)
    with pytest.raises(ValueError, match=r"found 2 runs .*sample 1: 1.*but 3 images"):
        vlm(ids, pixel_values=pictures[:3])
    with pytest.raises(ValueError, match=r"found 2 runs .* but 0 images"):
        vlm(ids)


def test_the_check_can_be_left_out(vlm, pictures, monkeypatch):
    def refuse(*_):
        raise AssertionError("checked")

    monkeypatch.setattr("sightline.nn.vlm.check_runs", refuse)
    with pytest.raises(AssertionError, match="checked"):
        vlm(ONE_IMAGE, pixel_values=pictures[:1])
    vlm(ONE_IMAGE, pixel_values=pictures[:1], check_images=False)
    vlm(torch.tensor([[5] * 20]), check_images=False)


def test_pixels_without_ids_are_refused(vlm, pictures):
    with pytest.raises(ValueError, match="pixel_values need input_ids"):
        vlm(inputs_embeds=torch.zeros(1, 3, 32), pixel_values=pictures[:1])


def test_one_picture_without_its_batch_is_told_what_shape_it_should_have(vlm, pictures):
    with pytest.raises(ValueError, match=r"pixel_values are .* but have the shape \[3, 32, 32\]"):
        vlm(ONE_IMAGE, pixel_values=pictures[0])


def test_what_is_left_of_a_side_behind_its_patches_is_not_seen():
    torch.manual_seed(0)
    model = VLM(tiny_config(vision_config=tower_fields(image_size=30))).eval()
    assert model.config.num_image_tokens == 9
    pixels = torch.randn(1, 3, 30, 30)
    cut = pixels.clone()
    cut[:, :, 24:], cut[..., 24:] = 0, 0
    assert model.encode_images(pixels).shape == (1, 9, 16)
    assert torch.equal(model.encode_images(pixels), model.encode_images(cut))


def test_it_runs_in_bf16(pictures):
    model = tiny_vlm().to(torch.bfloat16)
    logits = model(ONE_IMAGE, pixel_values=pictures[:1]).logits  # pixels stay float32
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()
