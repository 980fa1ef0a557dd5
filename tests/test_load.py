"""`sightline.load` and transformers' own loaders find the same model, on the device and in the dtype asked for."""

import shutil

import pytest
import torch
from PIL import Image

import sightline
from sightline.commands.info import count_parameters
from sightline.interop.load import best_dtype, load_processor, stored_dtype
from sightline.manifest import write_manifest

from .stand_ins import save_llava


def test_load_gives_model_and_processor(tiny_model_folder):
    model, processor = sightline.load(tiny_model_folder, device="cpu", dtype="float32")
    assert isinstance(model, sightline.VLM)
    assert isinstance(processor, sightline.VLMProcessor)
    assert not model.training
    assert model.dtype == torch.float32


def test_auto_dtype_on_a_cpu_is_bfloat16_only_where_it_is_native(tiny_model_folder, monkeypatch):
    cpu = torch.device("cpu")
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        assert best_dtype(cpu) == (torch.bfloat16 if native else torch.float32)
    assert sightline.load(tiny_model_folder, device="cpu")[0].dtype == best_dtype(cpu)


def test_dtype_reaches_every_weight(tiny_model_folder):
    model, _ = sightline.load(tiny_model_folder, device="cpu", dtype="bfloat16")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    # Angles in bfloat16 would be wrong by a quarter turn at position 300.
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    exact, _ = sightline.load(tiny_model_folder, device="cpu", dtype="float32")
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, exact.model.rotary_emb.inv_freq)


def test_auto_classes_and_pipeline_load_the_folder(tiny_model_folder, picture):
    from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

    ours, processor = sightline.load(tiny_model_folder, device="cpu", dtype="float32")
    theirs = AutoModelForImageTextToText.from_pretrained(tiny_model_folder).eval()
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": str(picture)}, {"type": "text", "text": "What is this?"}],
        }
    ]
    inputs = AutoProcessor.from_pretrained(tiny_model_folder).apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        torch.testing.assert_close(theirs(**inputs).logits, ours(**inputs).logits)
    expected = processor.decode(
        ours.generate(**inputs, max_new_tokens=5, do_sample=False)[0, inputs["input_ids"].shape[1] :],
        skip_special_tokens=True,
    )
    pipe = pipeline("image-text-to-text", model=str(tiny_model_folder), dtype="float32", device="cpu")
    given = pipe(text=messages, max_new_tokens=5, do_sample=False, return_full_text=False)
    assert given[0]["generated_text"] == expected


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere", FileNotFoundError, "no model 'nowhere'"),
        ("./nowhere", FileNotFoundError, r"no model '\./nowhere'"),
        ("someone/unheard-of", FileNotFoundError, "here or on the hub"),
    ],
)
def test_a_model_that_is_not_there_is_named(name, error, message):
    with pytest.raises(error, match=message):
        sightline.load(name)


def test_what_cannot_be_a_hub_id_is_not_asked_of_the_hub(monkeypatch):
    monkeypatch.setattr("sightline.interop.load.screen_descriptions", lambda *_: pytest.fail("the hub was asked"))
    for load in (sightline.load, load_processor, stored_dtype):
        with pytest.raises(FileNotFoundError, match="there is no model 'nowhere'"):
            load("nowhere")


@pytest.mark.parametrize(("dtype", "more"), [("int8", "; for int8 weights quantize"), ("float64", "$"), ("nn", "$")])
def test_only_the_dtypes_that_are_told_are_taken(tiny_model_folder, dtype, more):
    with pytest.raises(ValueError, match=f"there is no dtype '{dtype}': give auto, float32, bfloat16 or float16{more}"):
        sightline.load(tiny_model_folder, dtype=dtype)


def test_of_a_training_runs_folder_it_is_the_model_that_the_run_ended_with(tiny_model_folder, tmp_path):
    shutil.copytree(tiny_model_folder, tmp_path / "run" / "model")
    ended, _ = sightline.load(tmp_path / "run", dtype="float32")
    expected, _ = sightline.load(tiny_model_folder, dtype="float32")
    assert all(map(torch.equal, ended.state_dict().values(), expected.state_dict().values()))


def test_a_folder_without_or_with_a_foreign_model_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        sightline.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="'bert' checkpoint"):
        sightline.load(tmp_path)


def test_a_llava_folder_loads_and_answers_as_transformers_does(tmp_path, picture, capsys):
    from transformers import LlavaForConditionalGeneration

    from sightline.cli import main

    save_llava(tmp_path)
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
    model, processor = sightline.load(tmp_path, device="cpu", dtype="float32")
    content = [{"type": "image", "image": Image.open(picture)}, {"type": "text", "text": "What is this?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert (inputs["input_ids"] == theirs.config.image_token_id).sum() == 16
    torch.testing.assert_close(model.image2tensor(Image.open(picture), model.processor), inputs["pixel_values"])
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, theirs(**inputs).logits, atol=1e-4, rtol=0)
    assert (
        main(["ask", str(picture), "What is this?", "--model", str(tmp_path), "--json", "--max-new-tokens", "4"]) == 0
    )
    assert '"image_tokens": 16' in capsys.readouterr().out
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again, its_processor = sightline.load(tmp_path / "saved", device="cpu", dtype="float32")
    assert type(its_processor) is type(processor)
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_a_model_in_several_shards_is_whole(tiny_model_folder, tmp_path):
    model, processor = sightline.load(tiny_model_folder, device="cpu", dtype="float32")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    processor.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    again, _ = sightline.load(tmp_path, device="cpu", dtype="float32")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_a_device_that_is_not_there_is_said_before_anything_loads(tmp_path):
    with pytest.raises(ValueError, match="no device 'cuda:77' here"):
        sightline.load(tmp_path, device="cuda:77")


def test_parameters_are_counted_by_part(tiny_model_folder):
    model, _ = sightline.load(tiny_model_folder, device="cpu")
    counts = count_parameters(model)
    assert counts["projector"] == 16 * 32 + 32
    assert sum(counts.values()) == sum(p.numel() for p in model.parameters())


def test_weights_of_a_checkpoint_that_are_not_what_was_written_are_refused(tiny_model_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    (folder / "manifest.json").write_text('{"files": {"a stranger\'s": 1}}')
    sightline.load(folder, device="cpu")
    (folder / "manifest.json").unlink()
    write_manifest(folder, {})
    (folder / "chat_template.jinja").write_text(
        (folder / "chat_template.jinja").read_text() + " "
    )  # one's own to change
    sightline.load(folder, device="cpu")
    weights = max(folder.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    held = bytearray(weights.read_bytes())
    held[-5] ^= 1
    weights.write_bytes(held)
    with pytest.raises(
        ValueError, match=r"safetensors is damaged: its SHA-256 .*; copy it again, or delete .*manifest"
    ):
        sightline.load(folder, device="cpu")
