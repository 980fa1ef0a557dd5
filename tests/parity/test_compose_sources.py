"""Parts read from elsewhere than a folder of transformers': a GGUF file, and the tower of a checkpoint of ours."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPConfig, CLIPImageProcessorPil, CLIPModel

import sightline
from sightline.interop import parts
from sightline.interop.compose import compose

from ..stand_ins import SIZES, TEMPLATE, TEXT, TOWER, save_tokenizer, save_tower


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    torch.manual_seed(0)
    images = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=TOWER, projection_dim=8))
    return save_tower(tmp_path_factory.mktemp("pretrained") / "clip", model, images)


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    """A Llama of random float32 blocks with a byte-level tokenizer, as llama.cpp's converter writes it."""
    gguf = pytest.importorskip("gguf", reason="reading GGUF files needs the package gguf")
    folder = tmp_path_factory.mktemp("gguf")
    save_tokenizer(folder / "tokenizer")
    model = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())
    vocabulary = sorted(model["model"]["vocab"], key=model["model"]["vocab"].get)
    special = {token["content"]: token["id"] for token in model["added_tokens"]}
    writer = gguf.GGUFWriter(folder / "language.gguf", "llama")
    _write_fields(writer, len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in model["model"]["merges"]])
    writer.add_bos_token_id(special["<|im_start|>"])
    writer.add_eos_token_id(special["<|im_end|>"])
    writer.add_chat_template(TEMPLATE)
    for name, shape in _shapes(len(vocabulary)).items():
        writer.add_tensor(name, np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "language.gguf"


def _write_fields(writer, vocab_size):
    writer.add_name("A title that is no setting")
    writer.add_context_length(SIZES["max_position_embeddings"])
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocab_size)


def _shapes(vocab_size):
    width, inner = SIZES["hidden_size"], SIZES["intermediate_size"]
    keys = width * SIZES["num_key_value_heads"] // SIZES["num_attention_heads"]
    shapes = {"token_embd.weight": (vocab_size, width), "output_norm.weight": (width,)}
    for block in range(SIZES["num_hidden_layers"]):
        of_block = {"attn_norm": (width,), "ffn_norm": (width,), "attn_q": (width, width), "attn_k": (keys, width)}
        of_block |= {"attn_v": (keys, width), "attn_output": (width, width)}
        of_block |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
        shapes |= {f"blk.{block}.{name}.weight": shape for name, shape in of_block.items()}
    return shapes


@torch.no_grad()
@pytest.mark.parametrize("missing", ["gguf", "accelerate"])
def test_what_a_gguf_file_needs_is_named_before_it_is_read(tower, tmp_path, monkeypatch, missing):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find_spec(name))
    with pytest.raises(ImportError, match=rf"needs {missing}: pip install 'sightline\[convert\]'"):
        compose(tower, tmp_path / "language.gguf")


def test_a_gguf_file_is_the_language_model_that_transformers_reads_from_it(tower, gguf_file):
    model, processor = compose(tower, gguf_file)
    where = {"pretrained_model_name_or_path": gguf_file.parent, "gguf_file": gguf_file.name}
    theirs = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(**where)
    ids = tokenizer("a cat sits below the mat", return_tensors="pt")["input_ids"]
    assert torch.equal(ids, processor.tokenizer("a cat sits below the mat", return_tensors="pt")["input_ids"])
    assert (model(ids).logits[..., : len(tokenizer)] - theirs(ids).logits[..., : len(tokenizer)]).abs().max() <= 1e-4
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in model.config.eos_token_id


def test_a_gguf_file_that_is_not_there_or_cannot_be_read_is_said(tower, gguf_file, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no language model at 'missing\.gguf'"):
        compose(tower, "missing.gguf")
    monkeypatch.setattr(parts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'sightline\[convert\]'"):
        compose(tower, gguf_file)


@torch.no_grad()
def test_the_tower_of_a_checkpoint_of_ours_is_taken_as_it_was_trained(tiny_model_folder, gguf_file):
    trained, trained_processor = sightline.load(tiny_model_folder, device="cpu", dtype=torch.float32)
    model, processor = compose(tiny_model_folder, gguf_file)
    picture = Image.effect_noise((40, 32), 90).convert("RGB")
    pixels = processor.image_processor([picture], return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels, trained_processor.image_processor([picture], return_tensors="pt")["pixel_values"])
    assert torch.equal(model.encode_images(pixels), trained.encode_images(pixels))
    assert model.config.num_image_tokens == trained.config.num_image_tokens
    assert Path(model.config.vision_model_path) == tiny_model_folder


def test_a_training_runs_folder_is_a_tower_too(tiny_model_folder, gguf_file, tmp_path):
    shutil.copytree(tiny_model_folder, tmp_path / "run" / "model")
    expected, _ = compose(tiny_model_folder, gguf_file)
    model, _ = compose(tmp_path / "run", gguf_file)
    for name, weight in expected.vision_encoder.state_dict().items():
        assert torch.equal(model.vision_encoder.state_dict()[name], weight)
