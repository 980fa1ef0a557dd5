"""Our models as transformers' own: the same logits, ids and pixels; what transformers cannot compute is refused."""

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import sightline
from sightline.cli import main
from sightline.config import LLMConfig, VLMConfig
from sightline.engine.quantize import quantize
from sightline.interop.load import stored_dtype
from sightline.interop.to_transformers import llava_from_vlm, save_as_llava, to_transformers_config
from sightline.nn.vlm import VLM

TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
GEOMETRY = {"image_size": 12, "patch_size": 4}
LANGUAGE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
PATCHES = 9


def vlm_config(kind="clip_vision_model", **fields):
    return VLMConfig(
        **{**LANGUAGE, **fields}, image_ids=[34] * PATCHES, vision_config={"model_type": kind, **GEOMETRY, **TOWER}
    )


CONFIGS = {
    "llama": {},
    "untied": {"tie_word_embeddings": False},
    "qwen2": {"attention_bias": True},
    "qwen3": {"qk_norm": True},
    "llama with all biases": {"attention_bias": True, "attention_output_bias": True},
    "two layers already": {"projector_type": "mlp", "projector_hidden_act": "silu"},
    "no projector bias": {"projector_bias": False},
    "mistral": {"sliding_window": 8},
    "scaled positions": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}},
    "mixtral": {"use_moe": True, "n_routed_experts": 4, "intermediate_size": 16},
    "qwen3_moe": {"use_moe": True, "qk_norm": True, "n_routed_experts": 4, "moe_intermediate_size": 16},
    "siglip": {"kind": "siglip_vision_model"},
    "glm4_moe": {
        "use_moe": True,
        "scoring_func": "sigmoid",
        "use_router_bias": True,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "moe_intermediate_size": 16,
        "aux_loss_alpha": 0.0,
    },
}


def randomised(config):
    torch.manual_seed(0)
    model = VLM(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and "inv_freq" not in name:
                tensor.normal_(std=0.2)
                if "norm" in name and name.endswith("weight"):
                    tensor.add_(1.0)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_same(name):
    ours = randomised(vlm_config(**CONFIGS[name]))
    theirs = llava_from_vlm(ours)
    ids = torch.tensor([[5, *[34] * PATCHES, 7, 8, 9], [11, 12, *[34] * PATCHES, 13, 14]])
    pixels = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = ours(input_ids=ids, pixel_values=pixels[:, None]).logits
        found = theirs(input_ids=ids, pixel_values=pixels).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixel_shuffle_factor": 3}, "folds no patches"),
        ({"hidden_size": 24}, "24 is less than 2 x 16"),
        ({"use_moe": True, "n_shared_experts": 1}, "n_shared_experts"),
        ({"attention_output_bias": True}, "no language model of transformers"),
    ],
)
def test_what_llava_lacks_is_refused_by_name(fields, message):
    tokens = PATCHES // fields.get("pixel_shuffle_factor", 1) ** 2
    tower = {"model_type": "clip_vision_model", **GEOMETRY, **TOWER}
    config = VLMConfig(**{**LANGUAGE, **fields}, image_ids=[34] * tokens, vision_config=tower)
    with pytest.raises(ValueError, match=message):
        llava_from_vlm(VLM(config))


def test_a_router_that_no_family_has_is_refused():
    with pytest.raises(ValueError, match="no language model of transformers computes the same"):
        to_transformers_config(LLMConfig(**LANGUAGE, use_moe=True, scoring_func="sigmoid"))


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "llava"
    assert main(["convert", "llava", "sightline-tiny", "--out", str(folder), "--dtype", "float32"]) == 0
    return folder


def test_the_default_answers_alike_in_transformers(converted):
    ours, processor = sightline.load("sightline-tiny", dtype="float32", device="cpu")
    theirs = AutoModelForImageTextToText.from_pretrained(converted, dtype="float32").eval()
    their_processor = AutoProcessor.from_pretrained(converted, backend="pil")
    picture = Image.new("RGB", (50, 40), "white")
    picture.paste("red", (10, 10, 30, 30))
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this? 是什么？ a@b"}]
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    wanted = processor.apply_chat_template([{"role": "user", "content": content}], **options)
    found = their_processor.apply_chat_template([{"role": "user", "content": content}], **options)
    assert torch.equal(found["input_ids"], wanted["input_ids"])
    assert torch.equal(found["pixel_values"].flatten(), wanted["pixel_values"].flatten())
    with torch.no_grad():
        torch.testing.assert_close(theirs(**found).logits, ours(**wanted).logits, atol=1e-4, rtol=1e-4)
    answer = theirs.generate(**found, max_new_tokens=12, do_sample=False)
    assert torch.equal(answer, ours.generate(**wanted, max_new_tokens=12, do_sample=False))


def test_weights_are_named_as_in_published_llava_checkpoints(converted):
    with safe_open(converted / "model.safetensors", "pt") as weights:
        found = set(weights.keys())
    roots = "vision_tower.vision_model.", "multi_modal_projector.linear_", "language_model.model."
    assert {key for key in found if not key.startswith(roots)} == set()
    assert {root for root in roots if any(key.startswith(root) for key in found)} == set(roots)


@pytest.mark.parametrize("name", ["llama", "siglip", "untied"])
def test_what_was_written_is_read_back_by_transformers_bit_for_bit(name, tmp_path, tiny_model_folder):
    ours = randomised(vlm_config(**CONFIGS[name]))
    _, processor = sightline.load(str(tiny_model_folder))
    folder = save_as_llava(ours, processor, tmp_path / "llava")
    theirs = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").state_dict()
    wanted = llava_from_vlm(ours).state_dict()
    assert theirs.keys() == wanted.keys()
    assert all(torch.equal(theirs[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_weights_are_written_as_they_were_whatever_the_machine_computes_in(
    stored, tmp_path, tiny_model_folder, monkeypatch
):
    other = torch.float32 if stored == torch.bfloat16 else torch.bfloat16
    monkeypatch.setattr("sightline.interop.load.best_dtype", lambda _: other)
    _, processor = sightline.load(str(tiny_model_folder))
    randomised(vlm_config()).to(stored).save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    assert stored_dtype(tmp_path / "model") == stored
    monkeypatch.setattr("sightline.interop.load.screen_processor", lambda *_: None)
    assert main(["convert", "llava", str(tmp_path / "model"), "--out", str(tmp_path / "llava")]) == 0
    written = load_file(tmp_path / "llava" / "model.safetensors")
    assert {weight.dtype for weight in written.values()} == {stored}


def test_tokens_that_were_not_to_be_written_still_are_not():
    ours = randomised(vlm_config())
    ours.generation_config.suppress_tokens = [5, 40]
    assert llava_from_vlm(ours).generation_config.suppress_tokens == [5, 34, 40]


def test_int8_weights_are_refused():
    ours = randomised(vlm_config())
    quantize(ours)
    with pytest.raises(ValueError, match="is int8, which Llava has no place for"):
        llava_from_vlm(ours)


def test_what_was_converted_loads_here_too(converted):
    model, _ = sightline.load(str(converted), dtype="float32")
    assert model.config.projector_type == "mlp"


def test_a_processor_that_cannot_be_written_leaves_no_half_of_a_checkpoint(tiny_model_folder, tmp_path, monkeypatch):
    model, processor = sightline.load(str(tiny_model_folder))

    def refuse(*_):
        raise ValueError("no such processor")

    monkeypatch.setattr("sightline.interop.to_transformers.llava_processor", refuse)
    for out in (tmp_path / "new", tmp_path):
        with pytest.raises(ValueError, match="no such processor"):
            save_as_llava(model, processor, out)
        assert [*tmp_path.iterdir()] == []


def test_a_folder_with_something_in_it_is_left_alone(converted, capsys, tiny_model_folder):
    before = sorted(path.name for path in converted.iterdir())
    assert main(["convert", "llava", str(tiny_model_folder), "--out", str(converted)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert sorted(path.name for path in converted.iterdir()) == before
    loaded = sightline.load(str(tiny_model_folder))
    with pytest.raises(FileExistsError, match="is there already"):
        save_as_llava(*loaded, converted)
