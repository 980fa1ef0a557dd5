"""Every field under its name, values derived where None, contradictions and unknown names refused."""

import json

import pytest
from transformers import CLIPTextConfig, CLIPVisionConfig, SiglipVisionConfig

from sightline.config import PRESETS, LLMConfig, VLLMconfig, VLMConfig, llmconfig

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TOWER |= {"image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 300}


def vlm_config(**fields):
    return VLMConfig(**{**TEXT, "vision_config": TOWER, **fields})


SPEC_FIELDS = [
    "hidden_size",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
    "max_position_embeddings",
    "num_key_value_heads",
    "image_special_token",
    "image_ids",
    "vision_model_path",
    "ve_hidden_size",
    "use_cache",
    "flash_attn",
    "dropout",
    "use_moe",
    "num_experts_per_token",
    "n_routed_experts",
    "aux_loss_alpha",
    "tie_word_embeddings",
    "rope_theta",
    "logits_to_keep",
    "intermediate_size",
    "moe_intermediate_size",
    "n_shared_experts",
    "norm_topk_prob",
    "router_z_loss_alpha",
    "qk_norm",
    "rms_norm_eps",
    "rope_parameters",
    "head_dim",
    "attention_bias",
    "projector_type",
    "pixel_shuffle_factor",
]


@pytest.mark.parametrize("name", SPEC_FIELDS)
def test_every_field_is_taken_under_its_name_and_saved(name):
    values = {
        "image_special_token": "@" * 4,
        "image_ids": [40] * 4,
        "vision_model_path": "towers/clip",
        "ve_hidden_size": 16,
        "projector_type": "mlp",
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
    }
    numbers = {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 6, "num_experts_per_token": 1}
    numbers |= {"pixel_shuffle_factor": 2, "dropout": 0.25, "rope_theta": 7e4, "logits_to_keep": 3, "rms_norm_eps": 0.5}
    switches = {"use_cache": False, "flash_attn": False, "use_moe": True, "tie_word_embeddings": False}
    switches |= {"norm_topk_prob": False, "qk_norm": True, "attention_bias": True}
    sizes = {"aux_loss_alpha": 0.125, "router_z_loss_alpha": 0.125, "hidden_size": 64, "vocab_size": 128}
    value = (values | numbers | switches | sizes).get(name, 4)
    needed = {"pixel_shuffle_factor": 2} if name in ("image_ids", "image_special_token") else {}
    config = vlm_config(**{name: value}, **needed)
    assert getattr(config, name) == value
    assert getattr(VLMConfig.from_dict(json.loads(config.to_json_string())), name) == value


def test_the_two_arguments_of_the_design_document_go_by_position():
    config = VLLMconfig("@" * 16, [34] * 16, **TEXT, vision_config=TOWER)
    assert config.image_special_token == "@" * 16
    assert config.image_ids == [34] * 16
    with pytest.raises(TypeError, match="twice"):
        VLLMconfig("@" * 16, image_special_token="@" * 16, vision_config=TOWER)
    with pytest.raises(TypeError, match="at most 2 positional"):
        VLLMconfig("@", [34], 3)


def test_the_documents_class_names_are_the_same_classes():
    assert VLLMconfig is VLMConfig
    assert llmconfig is LLMConfig
    assert issubclass(VLMConfig, LLMConfig)


def test_without_arguments_it_is_clip_b16_with_196_placeholders():
    config = VLMConfig()
    assert config.image_ids == [34] * 196
    assert config.image_special_token == "@" * 196
    assert config.ve_hidden_size == 768
    assert VLMConfig(ve_hidden_size=384).vision_config.intermediate_size == 4 * 384


def test_sizes_left_out_are_derived():
    config = LLMConfig(hidden_size=96, num_attention_heads=6)
    assert (config.head_dim, config.num_key_value_heads, config.intermediate_size) == (16, 6, 256)
    assert config.moe_intermediate_size == 256


def test_rope_theta_is_read_and_set_through_rope_parameters():
    config = LLMConfig(rope_theta=5e5)
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 5e5}
    config.rope_theta = 1e6
    assert config.rope_parameters["rope_theta"] == 1e6
    assert LLMConfig().rope_theta == 10000.0


def test_the_older_rope_scaling_is_understood_and_not_changed():
    scaling = {"rope_type": "linear", "factor": 2.0}
    config = LLMConfig(rope_scaling=scaling, rope_theta=5e5)
    assert config.rope_parameters == {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    assert scaling == {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ("num_experts_per_tok", "num_experts_per_token"),
        ("num_experts", "n_routed_experts"),
        ("num_local_experts", "n_routed_experts"),
        ("router_aux_loss_coef", "aux_loss_alpha"),
        ("attention_dropout", "dropout"),
        ("num_layers", "num_hidden_layers"),
    ],
)
def test_other_names_mean_the_same_field(other, name):
    value = 0.5 if name in ("dropout", "aux_loss_alpha") else 4
    config = LLMConfig(**{other: value})
    assert getattr(config, name) == getattr(config, other) == value


@pytest.mark.parametrize("make", [LLMConfig, VLMConfig])
def test_an_unknown_field_names_the_nearest(make):
    with pytest.raises(ValueError, match=f"{make.__name__} has no field 'hiden_size'; did you mean 'hidden_size'"):
        make(hiden_size=64)
    with pytest.raises(ValueError, match=r"has no field 'zzzzzz'$"):
        make(zzzzzz=1)


def test_flash_attn_false_means_eager_for_text_and_tower():
    config = vlm_config(flash_attn=False)
    assert config._attn_implementation == config.vision_config._attn_implementation == "eager"
    assert vlm_config()._attn_implementation is None


def test_an_explicit_attn_implementation_wins_over_flash_attn():
    config = vlm_config(flash_attn=False, attn_implementation="sdpa")
    assert config._attn_implementation == config.vision_config._attn_implementation == "sdpa"


def test_flash_attn_survives_a_round_trip(tmp_path):
    vlm_config(flash_attn=False).save_pretrained(tmp_path)
    assert VLMConfig.from_pretrained(tmp_path)._attn_implementation == "eager"
    assert VLMConfig.from_pretrained(tmp_path, attn_implementation="sdpa")._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 30}, "hidden_size=30 is not divisible by num_attention_heads=4"),
        ({"num_key_value_heads": 3}, "num_attention_heads=4 is not divisible by num_key_value_heads=3"),
        ({"head_dim": 7}, "even for rotary embeddings, but is 7"),
        ({"hidden_size": 0}, "hidden_size must be a positive integer, but is 0"),
        ({"vocab_size": "many"}, "vocab_size must be a positive integer, but is 'many'"),
        ({"max_position_embeddings": -1}, "max_position_embeddings must be a positive integer, but is -1"),
        ({"sliding_window": 0}, "sliding_window must be a positive integer, but is 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), but is 1.0"),
        ({"logits_to_keep": -1}, "logits_to_keep must be 0 or positive, but is -1"),
        ({"pad_token_id": 300}, "pad_token_id=300 is outside vocab_size=300"),
        ({"use_moe": True, "num_experts_per_token": 9}, "num_experts_per_token=9 is more than n_routed_experts=8"),
        ({"use_moe": True, "n_group": 3}, "n_routed_experts=8 is not divisible by n_group=3"),
        ({"use_moe": True, "n_group": 2, "topk_group": 3}, "topk_group=3 is more than n_group=2"),
        (
            {"use_moe": True, "n_group": 4, "num_experts_per_token": 3},
            "num_experts_per_token=3 is more than the 2 experts that topk_group=1 of n_group=4 groups hold",
        ),
        ({"use_moe": True, "scoring_func": "tanh"}, "scoring_func must be 'softmax' or 'sigmoid', but is 'tanh'"),
        (
            {"use_moe": True, "scoring_func": "sigmoid", "softmax_after_topk": True},
            "softmax_after_topk=True contradicts scoring_func='sigmoid'",
        ),
        ({"image_ids": [34] * 15}, "image_ids has 15 ids, but the tower gives 16 image tokens"),
        ({"image_ids": []}, "image_ids has 0 ids, but the tower gives 16 image tokens"),
        (
            {"image_ids": [34] * 16, "pixel_shuffle_factor": 2},
            r"image_ids has 16 ids, but the tower gives 4 image tokens \(pixel_shuffle_factor=2\)",
        ),
        ({"image_ids": [34] * 15 + [35]}, r"image_ids must repeat one id, but holds \[34, 35\]"),
        ({"image_special_token": "@" * 3}, "image_special_token has 3 characters, but image_ids has 16 ids"),
        ({"image_ids": [300] * 16}, "image id 300 is outside vocab_size=300"),
        ({"ve_hidden_size": 32}, "ve_hidden_size=32 contradicts vision_config.hidden_size=16"),
        ({"pixel_shuffle_factor": 3}, "pixel_shuffle_factor=3 does not divide the 4 x 4 patches"),
        ({"pixel_shuffle_factor": 0}, "pixel_shuffle_factor=0 does not divide the 4 x 4 patches"),
        ({"vision_feature_layer": -4}, "vision_feature_layer=-4 is not among the tower's 2 layers"),
        ({"vision_feature_layer": 3}, "vision_feature_layer=3 is not among the tower's 2 layers"),
        ({"vision_config": {**TOWER, "image_size": 7}}, "image_size=7 is less than patch_size=8"),
        ({"vision_config": {"model_type": "eye"}}, "transformers knows no model_type='eye'"),
        ({"projector_type": "conv"}, "projector_type must be 'linear' or 'mlp', but is 'conv'"),
    ],
)
def test_values_that_contradict_each_other_are_both_named(fields, message):
    with pytest.raises(ValueError, match=message):
        vlm_config(**fields)


def test_pixel_shuffle_makes_fewer_image_tokens():
    config = vlm_config(pixel_shuffle_factor=2)
    assert config.num_image_tokens == len(config.image_ids) == 4


@pytest.mark.parametrize("tower", [CLIPVisionConfig(**TOWER), SiglipVisionConfig(**TOWER), TOWER])
def test_json_round_trip(tower):
    config = vlm_config(vision_config=tower, use_moe=True, rope_theta=5e5, vision_text_config={"hidden_size": 8})
    again = VLMConfig.from_dict(json.loads(config.to_json_string()))
    assert again.to_dict() == config.to_dict()
    assert type(again.vision_config) is type(config.vision_config)
    assert isinstance(again.vision_text_config, CLIPTextConfig)


def test_presets_are_valid_and_the_default_keeps_its_proportions():
    for fields in PRESETS.values():
        config = VLMConfig(**fields)
        assert config.hidden_size >= 2 * config.ve_hidden_size


def test_is_sparse_picks_the_layers_with_experts():
    config = LLMConfig(use_moe=True, first_k_dense_replace=1, mlp_only_layers=[2], num_hidden_layers=4)
    assert [config.is_sparse(layer) for layer in range(4)] == [False, True, False, True]
    stepped = LLMConfig(use_moe=True, decoder_sparse_step=2)
    assert [stepped.is_sparse(layer) for layer in range(4)] == [False, True, False, True]
    assert not LLMConfig().is_sparse(0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_moe": True, "first_k_dense_replace": 2}, r"none of the 2 layers is sparse: first_k_dense_replace=2"),
        ({"eos_token_id": 300}, r"eos_token_id=300 is outside vocab_size=300"),
        ({"eos_token_id": [2, 999]}, r"eos_token_id=999 is outside vocab_size=300"),
        ({"n_routed_experts": 6, "num_experts": 4}, r"num_experts=4 contradicts n_routed_experts=6"),
        ({"_hidden_size": 4}, r"has no field '_hidden_size'; did you mean 'hidden_size'"),
    ],
)
def test_what_would_be_silently_ignored_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LLMConfig(**TEXT, **fields)


@pytest.mark.parametrize(("count", "factor", "patch"), [(256, 1, 14), (49, 1, 32), (49, 2, 16), (196, 1, 16)])
def test_the_placeholder_says_how_many_patches_a_tower_has_that_nothing_else_describes(count, factor, patch):
    config = VLMConfig("@" * count, [34] * count, ve_hidden_size=96, pixel_shuffle_factor=factor)
    config.check()
    assert (config.vision_config.image_size, config.vision_config.patch_size) == (224, patch)


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (1024, 16), (800, 10), (200, 2), (48, 1)])
def test_a_tower_of_any_width_has_heads_that_divide_it(width, heads):
    assert VLMConfig(ve_hidden_size=width).vision_config.num_attention_heads == heads
