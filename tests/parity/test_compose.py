"""A tower and a language model composed: each computes what it computes in transformers."""

import shutil

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
)

import sightline
from sightline.cli import main
from sightline.interop.compose import compose
from sightline.interop.families import from_transformers_config
from sightline.interop.to_transformers import save_as_llava
from sightline.processor import VLMProcessor

from ..stand_ins import TEXT, TOWER, save_language, save_tokenizer, save_tower


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(0)
    clip = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    siglip = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    whole = CLIPConfig(text_config=TEXT, vision_config=TOWER, projection_dim=8)
    return {
        "llama": save_language(root / "llama", LlamaConfig, tie_word_embeddings=True),
        "qwen3": save_language(root / "qwen3", Qwen3Config, spare=13, head_dim=8, tie_word_embeddings=False),
        "base": save_language(root / "base", LlamaConfig, chat=False, tie_word_embeddings=True),
        "clip": save_tower(root / "clip", CLIPModel(whole), clip),
        "clip-vision": save_tower(root / "clip-vision", CLIPVisionModel(CLIPVisionConfig(**TOWER)), clip),
        "siglip-vision": save_tower(root / "siglip-vision", SiglipVisionModel(SiglipVisionConfig(**TOWER)), siglip),
    }


PAIRS = [("clip", "llama"), ("clip-vision", "qwen3"), ("siglip-vision", "llama"), ("siglip-vision", "base")]


@pytest.fixture(params=PAIRS, ids=lambda pair: "-".join(pair))
def composed(request, folders):
    vision, language = (folders[name] for name in request.param)
    torch.manual_seed(1)
    return vision, language, *compose(vision, language)


@torch.no_grad()
def test_on_text_it_is_the_language_model(composed):
    _, language, model, _ = composed
    theirs = AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32).eval()
    known = len(AutoTokenizer.from_pretrained(language))
    ids = torch.randint(known, (2, 30), generator=torch.Generator().manual_seed(0))
    found = model(ids).logits[..., :known]
    assert (found - theirs(ids).logits[..., :known]).abs().max().item() <= 1e-4
    assert model.config.max_position_embeddings == 80


@torch.no_grad()
def test_its_image_features_are_the_towers(composed):
    vision, _, model, processor = composed
    clip = "siglip" not in vision.name
    theirs = (CLIPVisionModel if clip else SiglipVisionModel).from_pretrained(vision).eval()
    picture = Image.new("RGB", (20, 16), "red")
    picture.paste("blue", (0, 0, 10, 8))
    pixels = processor.image_processor([picture], return_tensors="pt")["pixel_values"]
    own = (CLIPImageProcessorPil if clip else SiglipImageProcessorPil).from_pretrained(vision)
    assert torch.equal(pixels, own([picture], return_tensors="pt")["pixel_values"])
    states = theirs(pixels, output_hidden_states=True).hidden_states
    expected = states[-2][:, 1:] if clip else states[-1]
    assert (model.encode_images(pixels) - expected).abs().max().item() <= 1e-5


def test_the_vocabulary_grows_by_what_is_missing_with_mean_rows(folders):
    model, processor = compose(folders["clip"], folders["llama"])
    known = len(AutoTokenizer.from_pretrained(folders["llama"]))
    assert processor.image_token == "<image>"
    assert processor.tokenizer.convert_ids_to_tokens([known, known + 1]) == ["<image>", "<|pad|>"]
    assert model.config.vocab_size == known + 2
    rows = model.model.embed_tokens.weight
    torch.testing.assert_close(rows[known:], rows[:known].mean(0).expand(2, -1))
    assert model.lm_head.weight is rows
    assert model.config.image_ids == [known] * 16
    assert model.config.pad_token_id == known + 1


def test_spare_rows_of_the_vocabulary_are_used_first(folders):
    model, processor = compose(folders["clip"], folders["qwen3"])
    theirs = AutoModelForCausalLM.from_pretrained(folders["qwen3"])
    assert model.config.vocab_size == theirs.config.vocab_size
    known = processor.image_token_id
    for ours, other in (
        (model.lm_head.weight, theirs.lm_head.weight),
        (model.model.embed_tokens.weight, theirs.model.embed_tokens.weight),
    ):
        torch.testing.assert_close(ours[known : known + 2], other[:known].float().mean(0).expand(2, -1))
        assert torch.equal(ours[known + 2 :], other[known + 2 :].float())


@pytest.mark.parametrize("language", ["llama", "base"])
def test_labels_are_what_the_assistant_says_and_its_end(folders, language):
    _, processor = compose(folders["clip"], folders[language])
    picture = Image.new("RGB", (16, 16))
    asked = {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "<image>?"}]}
    messages = [asked, {"role": "assistant", "content": "a cat"}]
    batch = processor.encode_for_training([(messages, None)])
    labels = batch["labels"][0]
    assert processor.tokenizer.decode(labels[labels != -100]) == "a cat<|im_end|>"
    assert int((batch["input_ids"] == processor.image_token_id).sum()) == 16
    system = "<|im_start|>system\nBe brief.<|im_end|>\n" if language == "llama" else ""
    user = "<|im_start|>user\n<image>?<|im_end|>\n<|im_start|>assistant\n"
    written = processor.decode(batch["input_ids"][0], skip_special_tokens=False).replace("<image>" * 16, "")
    assert written == f"{system}{user}a cat<|im_end|>\n"


def test_saved_it_answers_as_before(composed, tmp_path):
    _, _, model, processor = composed
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, its_processor = sightline.load(tmp_path, device="cpu", dtype="float32")
    picture = {"type": "image", "image": Image.new("RGB", (16, 16), "green")}
    messages = [{"role": "user", "content": [picture, {"type": "text", "text": "a cat?"}]}]
    answers = []
    for one, prepare in ((model, processor), (again, its_processor)):
        inputs = prepare.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        answers.append(one.generate(**inputs, max_new_tokens=5, do_sample=False))
    assert torch.equal(*answers)
    assert its_processor.chat_template == processor.chat_template
    assert again.generation_config.eos_token_id == model.config.eos_token_id


def test_the_command_writes_a_model_of_the_two(folders, tmp_path, capsys):
    vision, language, out = folders["clip"], folders["llama"], tmp_path / "vlm"
    words = ["convert", "build", "--vision", str(vision), "--language", str(language), "--out", str(out)]
    assert main(words) == 0
    model, processor = sightline.load(out, device="cpu", dtype="float32")
    assert f"written: {out} (" in capsys.readouterr().out
    expected, _ = compose(vision, language)
    parts = dict(expected.named_parameters())
    for name, weight in model.named_parameters():
        if not name.startswith("vision_proj"):  # which is fresh each time
            assert torch.equal(weight, parts[name]), name
    turn = {"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (16, 16))}]}
    inputs = processor.apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] > inputs["input_ids"].shape[1]
    assert main(words) == 2
    assert "is there already: name a folder that is new or empty" in capsys.readouterr().err


def test_the_projector_is_llavas_unless_overridden(folders):
    model, _ = compose(folders["clip"], folders["llama"])
    assert [type(layer).__name__ for layer in model.vision_proj.vision_proj] == ["Linear", "GELUActivation", "Linear"]
    overrides = {"projector_type": "linear", "pixel_shuffle_factor": 2, "vision_feature_layer": -1}
    model, processor = compose(folders["clip"], folders["llama"], overrides=overrides)
    assert len(model.vision_proj.vision_proj) == 1
    assert processor.num_image_tokens == model.config.num_image_tokens == 4


@pytest.mark.parametrize(("name", "value"), [("hidden_size", 64), ("image_ids", [1]), ("rope_theta", 1.0)])
def test_what_a_part_decides_cannot_be_overridden(folders, name, value):
    with pytest.raises(ValueError, match=f"{name} cannot be overridden"):
        compose(folders["clip"], folders["llama"], overrides={name: value})


def test_embeddings_that_are_not_trained_learn_no_new_end_of_turn(folders):
    with pytest.raises(ValueError, match=r"has never seen <\|im_end\|>.*take its chat-tuned sibling"):
        compose(folders["clip"], folders["base"], trains_embeddings=False)
    compose(folders["clip"], folders["llama"], trains_embeddings=False)


def test_a_model_that_begins_with_a_token_begins_with_it_here_and_in_transformers(folders, tmp_path):
    base = shutil.copytree(folders["base"], tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"bos_token": tokenizer.eos_token})
    first = [(tokenizer.bos_token, tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"{tokenizer.bos_token} $A", None, first)
    tokenizer.save_pretrained(base)
    model, processor = compose(folders["clip"], base)
    save_as_llava(model, processor, tmp_path / "llava")
    theirs = AutoProcessor.from_pretrained(tmp_path / "llava", backend="pil")
    asked = [{"role": "user", "content": [{"type": "text", "text": "What?"}]}]
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    ids = processor.apply_chat_template(asked, **options)["input_ids"][0].tolist()
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in ids[1:]
    assert theirs.apply_chat_template(asked, **options)["input_ids"][0].tolist() == ids


def test_what_other_programs_leave_in_a_config_is_no_difference():
    config = LlamaConfig(is_llama_config=True, rope_interleaved=False, unsloth_fixed=True)
    assert from_transformers_config(config).hidden_size == config.hidden_size
    with pytest.raises(ValueError, match="rope_interleaved=True"):
        from_transformers_config(LlamaConfig(rope_interleaved=True))


def test_the_placeholder_is_that_of_the_tokenizer(folders):
    model, processor = compose(folders["clip"], folders["llama"])
    again = VLMProcessor.from_config(model.config, processor.tokenizer)
    assert (again.image_token, again.image_token_id) == (processor.image_token, processor.image_token_id)


def refused(error, match, vision, language):
    with pytest.raises(error, match=match) as caught:
        compose(vision, language)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_composed_is_one_line(folders, tmp_path):
    clip, llama = folders["clip"], folders["llama"]
    refused(FileNotFoundError, "no language model at '/nowhere'", clip, "/nowhere")
    refused(FileNotFoundError, "no vision tower at '/nowhere'", "/nowhere", llama)
    GPT2Config(n_embd=8).save_pretrained(tmp_path / "gpt2")
    refused(ValueError, "model_type='gpt2' is none of", clip, tmp_path / "gpt2")
    ViTConfig().save_pretrained(tmp_path / "vit")
    refused(ValueError, "holds a 'vit' model, but a tower is one of", tmp_path / "vit", llama)
    for config in (LlamaConfig(), Qwen3Config()):
        config.save_pretrained(tmp_path / config.model_type)
        refused(FileNotFoundError, "there is no tokenizer with", clip, tmp_path / config.model_type)
    save_tokenizer(tmp_path / "llama")
    refused(FileNotFoundError, "the language model .* is incomplete", clip, tmp_path / "llama")


def test_a_tokenizer_that_is_not_byte_level_is_refused(folders, tmp_path):
    LlamaConfig().save_pretrained(tmp_path)
    words = Tokenizer(WordLevel({"a": 0, "cat": 1, "?": 2}, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(tmp_path)
    refused(ValueError, "is not byte-level", folders["clip"], tmp_path)


def test_a_missing_weight_is_no_random_one(folders, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folders["llama"])
    save_tokenizer(tmp_path)
    weights = {name: weight for name, weight in model.state_dict().items() if "layers.1.mlp.up" not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    refused(ValueError, "lacks the weight model.layers.1.mlp.up_proj.weight", folders["clip"], tmp_path)
