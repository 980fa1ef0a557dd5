"""`VLM` against transformers' Llava: both towers, every text family, images in one and several samples."""

import pytest
import torch
from safetensors import safe_open
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SiglipVisionConfig,
)

from sightline.interop.llava import from_llava_config, vlm_from_llava
from sightline.nn.vlm import VLM

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 12,
    "patch_size": 4,
}
IMAGE, PATCHES = 90, 9
CLIP = {"vision_config": CLIPVisionConfig(**TOWER)}
SIGLIP = {"vision_config": SiglipVisionConfig(**TOWER), "vision_feature_select_strategy": "full"}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def llava_config(text_config=None, **fields):
    text_config = text_config or LlamaConfig(**SIZES)
    return LlavaConfig(text_config=text_config, image_token_index=IMAGE, **{**CLIP, **fields})


CONFIGS = {
    "clip-llama": llava_config(),
    "clip-llama-last-layer": llava_config(vision_feature_layer=-1),
    "clip-llama-second-layer": llava_config(vision_feature_layer=2),
    "clip-llama-tied": llava_config(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "clip-qwen2-no-bias": llava_config(Qwen2Config(**SIZES), multimodal_projector_bias=False),
    "clip-mixtral": llava_config(MixtralConfig(**SIZES, num_local_experts=4)),
    "siglip-qwen3": llava_config(Qwen3Config(**SIZES, head_dim=8), **SIGLIP, projector_hidden_act="silu"),
    "siglip-qwen3_moe": llava_config(Qwen3MoeConfig(**SIZES, **MOE), **SIGLIP, vision_feature_layer=-1),
}
PAIRS = {}


def randomised(config):
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.normal_(std=0.2)
            if "norm" in name and name.endswith("weight"):
                tensor.add_(1.0)
    return model


@pytest.fixture(params=CONFIGS)
def pair(request):
    if request.param not in PAIRS:
        theirs = randomised(CONFIGS[request.param])
        PAIRS[request.param] = theirs, vlm_from_llava(theirs)
    return PAIRS[request.param]


def batch():
    """Left-padded: one image, and two images next to each other."""
    run = [IMAGE] * PATCHES
    samples = [[0] * 9 + [1, 5, *run, 7, 8], [1, 4, *run, *run, 9, 11]]
    tokens = torch.tensor(samples)
    generator = torch.Generator().manual_seed(1)
    return {
        "input_ids": tokens,
        "attention_mask": (tokens != 0).long(),
        "pixel_values": torch.randn(3, 3, 12, 12, generator=generator),
    }


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_logits(pair, attention):
    inputs, real = batch(), batch()["attention_mask"].bool()
    for model in pair:
        model.set_attn_implementation(attention)
    expected, found = (model(**inputs).logits[real] for model in pair)
    assert (found - expected).abs().max().item() <= 1e-4
    other = pair[1](**{**inputs, "pixel_values": inputs["pixel_values"].flip(0)}).logits[real]
    assert (other - expected).abs().max() > 0.01, "the image must matter"


def test_ten_greedy_tokens(pair):
    expected, found = (model.generate(**batch(), max_new_tokens=10, do_sample=False) for model in pair)
    assert torch.equal(found, expected)


@torch.no_grad()
def test_text_without_an_image(pair):
    tokens = torch.arange(3, 20)[None]
    expected, found = (model(tokens).logits for model in pair)
    assert (found - expected).abs().max().item() <= 1e-4


@pytest.mark.parametrize("pair", ["clip-llama", "siglip-qwen3_moe"], indirect=True)
def test_gradients_of_projector_and_language_model(pair):
    theirs, ours = pair
    inputs = batch()
    labels = torch.where(inputs["attention_mask"].bool() & (inputs["input_ids"] != IMAGE), inputs["input_ids"], -100)
    for model in pair:
        model.zero_grad()
        logits = model(**inputs).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).backward()
    linear_1 = theirs.model.multi_modal_projector.linear_1.weight.grad
    torch.testing.assert_close(ours.vision_proj.vision_proj[0].weight.grad, linear_1, atol=1e-4, rtol=0)
    theirs_text = dict(theirs.model.language_model.named_parameters())
    for name, weight in ours.model.named_parameters():
        torch.testing.assert_close(weight.grad, theirs_text[name].grad, atol=1e-4, rtol=0)


def test_saved_and_reloaded_it_is_the_same_model(pair, tmp_path):
    _, ours = pair
    ours.save_pretrained(tmp_path)
    again = VLM.from_pretrained(tmp_path)
    assert torch.equal(again(**batch()).logits, ours(**batch()).logits)


@pytest.mark.parametrize("pair", ["siglip-qwen3_moe"], indirect=True)
def test_on_disk_the_experts_are_single(pair, tmp_path):
    pair[1].save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        keys = {key for key in file.keys() if ".layers.0.mlp.experts" in key}  # noqa: SIM118
    assert "model.layers.0.mlp.experts.3.up_proj.weight" in keys
    assert len(keys) == 4 * 3


@pytest.mark.parametrize("pair", ["siglip-qwen3_moe"], indirect=True)
def test_a_folder_of_transformers_converts(pair, tmp_path):
    theirs, ours = pair
    theirs.save_pretrained(tmp_path)
    taken = vlm_from_llava(tmp_path)
    ours.set_attn_implementation("sdpa")
    with torch.no_grad():
        assert torch.equal(taken(**batch()).logits, ours(**batch()).logits)
    from_folder = taken.state_dict()
    assert [key for key, weight in ours.state_dict().items() if not torch.equal(weight, from_folder[key])] == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (llava_config(vision_feature_layer=[-2, -1]), r"vision_feature_layer=\[-2, -1\]"),
        (llava_config(vision_feature_select_strategy="full"), "vision_feature_select_strategy='full'"),
        (llava_config(vision_config=SiglipVisionConfig(**TOWER)), "vision_feature_select_strategy='default'"),
        (llava_config(vision_config={"model_type": "vit"}), "model_type='vit' is none of clip_vision_model"),
        (llava_config(image_grid_pinpoints=[[336, 672]]), r"image_grid_pinpoints=\[\[336, 672\]\]"),
        (llava_config(LlamaConfig(**SIZES, mlp_bias=True)), "mlp_bias=True"),
    ],
)
def test_what_ours_cannot_compute_is_refused_by_name(config, message):
    with pytest.raises(ValueError, match=message):
        from_llava_config(config)
