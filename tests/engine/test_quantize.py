"""Int8 weights give nearly what they stand for, whichever way they are multiplied, and survive saving bit for bit."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sightline.engine import int8
from sightline.engine.engine import Engine
from sightline.engine.int8 import Int8Experts, Int8Linear, quantize_weight
from sightline.engine.quantize import Int8Config, is_quantized, quantize
from sightline.engine.weights import FusedWeights
from sightline.interop.load import load
from sightline.nn.vlm import VLM

from .conversations import CONVERSATIONS, plain

SHAPES = {
    "dense": {},
    "untied, with biases": {"tie_word_embeddings": False, "attention_bias": True, "attention_output_bias": True},
    "experts": {"use_moe": True, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1},
}
IDS = torch.arange(40, 60).view(2, 10)


@pytest.fixture(params=SHAPES)
def model(request, make_shape):
    return make_shape(**SHAPES[request.param])[0]  # a new one for each test


@pytest.fixture(scope="module")
def saved(make_shape, tmp_path_factory):
    """An int8 model with its processor, and the folder they are saved in."""
    model, processor = make_shape(**SHAPES["experts"])
    folder = tmp_path_factory.mktemp("int8")
    quantize(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor, folder


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def assert_same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


# The model


def test_blocks_experts_and_an_untied_head_are_int8_and_nothing_else(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quantize(model)
    kept = {name: tensor for name, tensor in model.state_dict().items() if tensor.dtype != torch.int8}
    whole = {name: tensor for name, tensor in kept.items() if not name.endswith("_scale")}
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.items())
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert all(name.startswith("vision_") or name == "lm_head" for name in linear)
    assert ("lm_head" in linear) == model.config.tie_word_embeddings
    assert not any(name.startswith("model.layers") and name.endswith("proj.weight") for name in whole)


def test_logits_are_near_the_unquantised_ones(model):
    before = logits(model)
    after = logits(quantize(model))
    assert 0 < (after - before).norm() / before.norm() < 0.08


def test_an_int8_model_computes_what_its_dequantised_weights_do(model):
    twin = copy.deepcopy(model)
    quantize(model)
    with torch.no_grad():
        for name, weight in twin.named_parameters():
            if name.startswith(("model.layers", "lm_head")) and weight.ndim > 1 and "gate.weight" not in name:
                integers, scale = quantize_weight(weight)
                weight.copy_(integers * scale[..., None])
    torch.testing.assert_close(logits(model), logits(twin), atol=1e-4, rtol=1e-4)


def test_decoding_goes_through_the_kernel(make_shape, monkeypatch):
    kernel, calls = torch._weight_int8pack_mm, []

    def counting(x, weight, scale):
        calls.append((len(x), x.dtype))
        return kernel(x, weight, scale)

    monkeypatch.setattr(torch, "_weight_int8pack_mm", counting)
    monkeypatch.setattr(int8, "KERNEL_DTYPES", {torch.bfloat16})
    model, _ = make_shape()
    quantize(model, kernel_dtype="bfloat16").generate(IDS[:1], max_new_tokens=3, do_sample=False)
    # The prompt has more than FEW_ROWS; then come two steps of one row through seven layers in each of two blocks.
    assert calls == [(1, torch.bfloat16)] * 2 * 7 * 2


def test_the_engine_answers_as_generate_does(saved):
    model, processor, _ = saved
    expected = [plain((model, processor), messages, 6) for messages in CONVERSATIONS[:3]]
    engine = Engine(model, processor, kv_cache_bytes=2**22)
    try:
        replies = engine.batch(CONVERSATIONS[:3], max_new_tokens=6)
    finally:
        engine.close()
    assert [reply.tokens for reply in replies] == expected


@pytest.fixture
def int8_experts(make_shape):
    model, _ = make_shape(**SHAPES["experts"], num_experts_per_token=2)
    return next(module for module in quantize(model).modules() if isinstance(module, Int8Experts))


def routed(experts, tokens):
    """Random tokens, each with two of the experts."""
    choice = torch.stack([torch.randperm(len(experts.gate_up_proj))[:2] for _ in range(tokens)])
    return torch.randn(tokens, experts.down_proj.shape[1]), choice, torch.rand(tokens, 2)


@pytest.mark.parametrize("tokens", [1, 9])
def test_experts_give_the_same_compiled(int8_experts, monkeypatch, tokens):
    given = routed(int8_experts, tokens)
    expected = int8_experts(*given)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(int8_experts(*given), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 9])
def test_a_step_of_decoding_on_an_accelerator_waits_for_no_value(int8_experts, tokens):
    # A tensor of this device has no values that could be waited for.
    given = [tensor.to("meta") for tensor in routed(int8_experts, tokens)]
    assert int8_experts.to("meta")(*given).shape == given[0].shape


def test_fused_weights_quantise_as_those_of_their_own(model):
    twin = copy.deepcopy(model)
    fused = FusedWeights(model)
    assert_same(quantize(model), quantize(twin))
    assert all(parameter.is_contiguous() for parameter in model.model.layers.parameters())
    assert fused.refresh()


def test_an_int8_model_says_that_it_does_not_train(make_shape):
    for fields in SHAPES.values():
        model = quantize(make_shape(**fields)[0])
        assert not model.training
        with pytest.raises(ValueError, match="an int8 model does not train"):
            model.train()
    assert not model.hf_quantizer.is_trainable  # transformers' Trainer asks


# Checkpoints


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_and_loaded_bit_for_bit(model, processor, tmp_path, dtype):
    model.save_pretrained(tmp_path / "plain")
    model = quantize(VLM.from_pretrained(tmp_path / "plain", dtype=getattr(torch, dtype)))
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = load(tmp_path, device="cpu", dtype=dtype)
    assert is_quantized(again)
    assert_same(model, again)
    assert torch.equal(logits(model), logits(again))
    assert not any(p.requires_grad for m in again.modules() if isinstance(m, Int8Linear) for p in m.parameters())


def test_what_was_loaded_saves_the_same_again_also_in_shards(saved, tmp_path):
    model, processor, folder = saved
    again, _ = load(folder, device="cpu", dtype="float32")
    again.save_pretrained(tmp_path / "whole")
    first, second = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "whole"))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    again.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    processor.save_pretrained(tmp_path / "shards")
    assert_same(model, load(tmp_path / "shards", device="cpu", dtype="float32")[0])


def test_experts_are_single_on_disk_with_their_scales(saved):
    names = load_file(saved[2] / "model.safetensors").keys()
    assert {name.partition("experts.3.")[2] for name in names if "layers.1.mlp.experts.3." in name} == {
        f"{part}_proj.{kind}" for part in ("gate", "up", "down") for kind in ("weight", "weight_scale")
    }


def test_a_float32_checkpoint_is_the_same_model_in_bfloat16(saved):
    model, _, folder = saved
    rounded = VLM.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
    for name, tensor in model.state_dict().items():
        if tensor.dtype == torch.int8 or name.endswith("_scale"):
            assert torch.equal(rounded[name].to(tensor.dtype), tensor), name


def test_integers_are_loaded_to_where_vectors_can_start(saved):
    again = VLM.from_pretrained(saved[2])
    assert all(p.data_ptr() % 64 == 0 for p in again.parameters() if p.dtype == torch.int8)


def test_auto_classes_load_it_in_a_process_that_only_imports_the_package(saved):
    model, _, folder = saved
    script = (
        "import sys, torch, sightline; from transformers import AutoModelForImageTextToText as Auto\n"
        "model = Auto.from_pretrained(sys.argv[1]); ids = torch.arange(40, 60).view(2, 10)\n"
        "torch.set_num_threads(1); torch.save(model(ids).logits.detach(), sys.argv[2])"
    )
    out = folder / "logits.pt"
    subprocess.run([sys.executable, "-c", script, str(folder), str(out)], check=True, capture_output=True)
    assert torch.equal(torch.load(out), logits(model))


def test_the_file_is_little_more_than_a_quarter(make_shape, tmp_path):
    model, _ = make_shape(hidden_size=128, intermediate_size=384, num_hidden_layers=4)
    model.save_pretrained(tmp_path / "float32")
    quantize(model).save_pretrained(tmp_path / "int8")
    before, after = ((tmp_path / kind / "model.safetensors").stat().st_size for kind in ("float32", "int8"))
    assert after < 0.33 * before


def test_load_quantises_what_is_not_and_leaves_what_is(tiny_model_folder, saved):
    quantised, _ = load(tiny_model_folder, device="cpu", dtype="float32", quantize="int8")
    assert_same(quantised, quantize(load(tiny_model_folder, device="cpu", dtype="float32")[0]))
    assert_same(load(saved[2], device="cpu", dtype="float32", quantize="int8")[0], saved[0])


def test_from_pretrained_quantises_by_its_own_argument(make_shape, tmp_path):
    model, _ = make_shape(**SHAPES["experts"])
    model.save_pretrained(tmp_path / "plain")
    config = Int8Config(kernel_dtype="bfloat16")
    quantised = VLM.from_pretrained(tmp_path / "plain", quantization_config=config)
    assert_same(quantised, quantize(model))
    quantised.save_pretrained(tmp_path / "int8")
    again = VLM.from_pretrained(tmp_path / "int8")
    assert_same(again, quantised)
    kernel_dtypes = {m.kernel_dtype for m in again.modules() if isinstance(m, Int8Linear | Int8Experts)}
    assert kernel_dtypes == {torch.bfloat16}


def test_a_checkpoint_without_a_scale_is_an_error(saved, tmp_path):
    tensors = load_file(saved[2] / "model.safetensors")
    del tensors["model.layers.0.self_attn.q_proj.weight_scale"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((saved[2] / "config.json").read_text())
    with pytest.raises(ValueError, match=r"lacks model\.layers\.0\.self_attn\.q_proj\.weight_scale"):
        VLM.from_pretrained(tmp_path)


def test_a_config_that_says_int8_over_other_weights_is_an_error(tiny_model_folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((tiny_model_folder / "model.safetensors").read_bytes())
    config = json.loads((tiny_model_folder / "config.json").read_text())
    config["quantization_config"] = Int8Config().to_dict()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json says int8, but the checkpoint holds floating-point weights"):
        VLM.from_pretrained(tmp_path)


# What it refuses


def test_a_model_is_quantised_once(saved):
    for model in (saved[0], load(saved[2], device="cpu", dtype="float32")[0]):
        with pytest.raises(ValueError, match="the model is quantised already"):
            quantize(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "int4"}, "there is no backend 'int4': give native or torchao"),
        ({"kernel_dtype": "int8"}, "kernel_dtype must be float32, bfloat16 or float16, but is 'int8'"),
        ({"backend": "torchao"}, "for a GPU, but the model is on the CPU"),
        ({"backend": "torchao", "kernel_dtype": "bfloat16"}, "kernel_dtype is for backend='native'"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(loaded, options, message):
    with pytest.raises(ValueError, match=message):
        quantize(loaded[0], **options)
    assert not is_quantized(loaded[0])


def test_load_names_what_it_can_quantise_to(tiny_model_folder):
    with pytest.raises(ValueError, match="there is no quantisation 'int4': give int8, or torchao on a GPU"):
        load(tiny_model_folder, quantize="int4")


def test_weights_that_are_no_numbers_are_named_and_nothing_is_changed(make_shape):
    model, _ = make_shape()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = float("nan")
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.up_proj holds weights that are no finite numbers"):
        quantize(model)
    assert isinstance(model.model.layers[0].mlp.up_proj, nn.Linear)


def test_adapters_are_merged_first(make_shape):
    from sightline.training.lora import attach
    from sightline.training.recipe import LoraSection

    pytest.importorskip("peft")
    model = attach(make_shape()[0], LoraSection(rank=2, targets=["q_proj"]))
    with pytest.raises(ValueError, match="the model has LoRA adapters: merge them first"):
        quantize(model)


# torchao's layers, which are for a GPU; here its arithmetic runs on a CPU that passes for one.


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(VLM, "device", torch.device("cuda"))


def test_torchao_missing_names_the_extra(make_shape, as_on_a_gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ImportError, match=r"torchao is not installed: pip install 'sightline\[gpu\]'"):
        quantize(make_shape()[0], backend="torchao")


def test_load_refuses_torchao_on_a_cpu_before_it_reads_the_model():
    with pytest.raises(ValueError, match="quantize='torchao' is for a GPU, and this is a CPU: take quantize='int8'"):
        load("no/such/model", device="cpu", quantize="torchao")


def test_load_makes_torchaos_layers_once_the_model_is_on_the_gpu(tiny_model_folder, as_on_a_gpu, monkeypatch):
    pytest.importorskip("torchao")
    moved = []
    monkeypatch.setattr("sightline.interop.load.pick_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(nn.Module, "to", lambda model, place: moved.append((place, is_quantized(model))) or model)
    model, _ = load(tiny_model_folder, dtype="float32", quantize="torchao")
    assert moved == [(torch.device("cuda"), False)]
    assert is_quantized(model)
    assert "Int8" in type(model.model.layers[0].self_attn.q_proj.weight).__name__


def test_torchao_takes_no_experts(make_shape, as_on_a_gpu):
    with pytest.raises(ValueError, match="no int8 form for stacked experts"):
        quantize(make_shape(**SHAPES["experts"])[0], backend="torchao")


def test_torchao_quantises_the_same_layers_and_saves_them(make_shape, as_on_a_gpu, tmp_path):
    pytest.importorskip("torchao")
    model, _ = make_shape(**SHAPES["untied, with biases"])
    before = logits(model)
    after = logits(quantize(model, backend="torchao"))
    assert 0 < (after - before).norm() / before.norm() < 0.08
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert not any("vision" in name and tensor.dtype == torch.int8 for name, tensor in stored.items())
    assert torch.equal(logits(VLM.from_pretrained(tmp_path)), after)
