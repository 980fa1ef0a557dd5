"""A stranger's checkpoint runs no code, reads no other file and fills no memory.

Each folder is a good one with one thing changed; what it could have done would have left a mark.
"""

import json
import pickle
import re
import shutil
import struct
import time

import pytest

import sightline
from sightline.interop.load import load_processor

from ..stand_ins import save_llava
from .peak_memory import bounded_memory

pytestmark = pytest.mark.usefixtures("stream_beside", "stays_well")


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    copy = tmp_path / "stranger"
    shutil.copytree(tiny_model_folder, copy)
    return copy


@pytest.fixture
def refused(folder):
    """The one line with which the folder is refused; nothing of a gigabyte is made on the way."""

    def refused():
        started = time.process_time()
        with bounded_memory(2**29), pytest.raises(ValueError, match=r"\w") as caught:
            sightline.load(folder, device="cpu", dtype="float32")
        assert "\n" not in str(caught.value)
        assert time.process_time() - started < 10
        return str(caught.value)

    return refused


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def write_safetensors(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Mark:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_the_unchanged_folder_loads(folder):
    model, processor = sightline.load(folder, device="cpu", dtype="float32")
    assert processor.image_token_id == model.config.image_token_id


def test_pictures_that_come_out_square_only_where_they_were_are_refused(folder, refused):
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text())
    side = settings["image_processor"]["crop_size"]["height"]
    uncropped = {"size": {"shortest_edge": side}, "do_center_crop": False}
    change(path, image_processor=settings["image_processor"] | uncropped)
    assert "pixels of a picture, but its model takes" in refused()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_weights_in_a_pickle_are_refused_unread(folder, tmp_path, refused, file):
    (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(pickle.dumps(Mark(tmp_path / "ran")))
    message = refused()
    assert "can run code" in message
    assert file in message
    assert not (tmp_path / "ran").exists()


def test_a_pickle_beside_good_weights_is_never_opened(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Mark(tmp_path / "ran")))
    sightline.load(folder, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_weights_is_refused(folder, refused):
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refused()


def test_a_quantisation_that_is_null_is_none(folder):
    change(folder / "config.json", quantization_config=None)
    sightline.load(folder, device="cpu")


@pytest.mark.parametrize("model_type", ["sightline_vlm", "llava", "unheard_of"])
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("config.json", "AutoConfig"),
        ("config.json", "AutoModelForImageTextToText"),
        ("processor_config.json", "AutoProcessor"),
        ("preprocessor_config.json", "AutoImageProcessor"),
        ("tokenizer_config.json", "AutoTokenizer"),
    ],
)
def test_code_that_a_checkpoint_brings_is_never_run(folder, tmp_path, refused, file, name, model_type):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    if not (folder / file).exists():
        (folder / file).write_text("{}")
    change(folder / "config.json", model_type=model_type)
    change(folder / file, auto_map={name: "evil.Evil"})
    assert "auto_map" in refused()
    with pytest.raises(ValueError, match="auto_map"):
        load_processor(folder)
    assert not (tmp_path / "ran").exists()


def test_nested_code_and_code_of_a_hub_are_never_run(folder, refused):
    config = folder / "config.json"
    good = config.read_text()
    change(config, vision_config=json.loads(good)["vision_config"] | {"auto_map": {"AutoConfig": "evil.Evil"}})
    assert "auto_map" in refused()
    config.write_text(good)
    change(config, attn_implementation="someone/kernels")
    assert "attn_implementation" in refused()
    config.write_text(good)
    change(config, transformers_weights="../weights.bin")
    assert "transformers_weights" in refused()


def test_an_adapter_beside_the_weights_is_not_taken_in_unasked(folder, refused):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "/"}')
    (folder / "adapter_model.bin").write_bytes(b"")
    assert "adapter" in refused()


@pytest.mark.parametrize(
    "file", ["../x.safetensors", "/etc/x.safetensors", "a/../../x.safetensors", "..", "model.bin", "~/x.safetensors", 5]
)
def test_an_index_names_files_beside_it_alone(folder, tmp_path, refused, file):
    elsewhere = tmp_path / "x.safetensors"
    (folder / "model.safetensors").rename(elsewhere)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": file}}))
    assert "none beside it" in refused()


@pytest.mark.parametrize("index", ["[]", "{", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100_000])
def test_a_broken_index_is_refused(folder, refused, index):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    assert "model.safetensors.index.json" in refused()


def test_a_shard_that_is_not_there_is_named(folder, refused):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-1.safetensors" in refused()


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"model.norm.weight": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


LYING = [
    tensor(offsets=(0, 2**40)),
    tensor(offsets=(8, 0)),
    tensor(offsets=(4, 12)),
    tensor(shape=(2**40,)),
    tensor(shape=(2**32, 2**32)),
    tensor(shape=(-2,)),
    tensor(dtype="OBJECT"),
    tensor() | {"other": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    {"a": 5},
    b"{",
    b"[]",
    b"",
    b'{"a":' * 10_000,
]


@pytest.mark.parametrize("number", range(len(LYING)))
def test_a_header_that_lies_is_refused(folder, refused, number):
    write_safetensors(folder / "model.safetensors", LYING[number], bytes(8))
    assert "model.safetensors" in refused()


@pytest.mark.parametrize("length", [100_000_000, 2**63, 2**64 - 1])
def test_a_header_that_is_said_to_be_huge_is_refused(folder, refused, length):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", length) + bytes(100))
    assert f"a header of {length} bytes" in refused()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 2**40}, "vocab_size=1099511627776"),
        ({"vocab_size": 2**30}, "describes a model of"),
        ({"hidden_size": 2**20, "intermediate_size": 2**20, "head_dim": 16}, "describes a model of"),
        ({"hidden_size": -32}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
        ({"num_hidden_layers": 9_999}, "num_hidden_layers=9999, but its files hold"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": "many"}, "."),
        ({"num_labels": 2**30}, "num_labels"),
        ({"image_ids": None, "image_special_token": None, "num_hidden_layers": 3}, "lacks the weight|describes"),
        ({"use_moe": True, "n_routed_experts": 10**9}, "n_routed_experts"),
        ({"no_such_field": 1}, "no_such_field"),
        ({"quantization_config": {"quant_method": "unheard_of"}}, "quantised in a way"),
        ({"rope_parameters": {"rope_type": "unheard_of"}}, "."),
        ({"dtype": "__import__"}, "."),
    ],
)
def test_a_config_of_sizes_that_its_weights_do_not_have_is_refused(folder, refused, fields, message):
    change(folder / "config.json", **fields)
    assert re.search(message, refused())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 2**20, "patch_size": 1}, "no size of a picture"),
        ({"image_size": 32, "patch_size": 0}, "no size of a picture"),
        ({"image_size": -32}, "no size of a picture"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
        ({"hidden_size": 2**30}, "."),
        ({"model_type": "unheard_of"}, "unheard_of"),
    ],
)
def test_a_tower_of_sizes_that_its_weights_do_not_have_is_refused(folder, refused, fields, message):
    config = json.loads((folder / "config.json").read_text())
    fields = {"image_ids": None, "image_special_token": None, "vision_config": config["vision_config"] | fields}
    change(folder / "config.json", **fields)
    assert re.search(message, refused())


def test_weights_that_are_missing_are_not_made_up(folder, refused):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    spare = weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights | {"spare": spare}, folder / "model.safetensors", {"format": "pt"})
    assert "lacks the weight model.layers.1.mlp.up_proj.weight" in refused()


def test_weights_of_another_shape_are_refused(folder, refused):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(weights | {name: weights[name].T.contiguous()}, folder / "model.safetensors", {"format": "pt"})
    refused()


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json"])
@pytest.mark.parametrize("garbage", [b"\x80\x04garbage", b"[]", b'{"a": ' * 100_000, b"null", b'"x"'])
def test_files_of_garbage_are_refused(folder, refused, file, garbage):
    (folder / file).write_bytes(garbage)
    refused()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_image_tokens": 2**40}, "num_image_tokens=1099511627776"),
        ({"num_image_tokens": 17}, "makes 17 tokens"),
        ({"image_token": "a"}, "."),
        ({"size": 10**9}, "."),
    ],
)
def test_a_processor_that_does_not_fit_the_model_is_refused(folder, refused, fields, message):
    path = folder / "processor_config.json"
    if "size" in fields:
        described = json.loads(path.read_text())
        fields = {"image_processor": described["image_processor"] | {"size": {"height": 10**6, "width": 10**6}}}
        message = "a size of 1000000"
    change(path, **fields)
    assert re.search(message, refused())


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(folder, refused):
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    described["model"]["vocab"]["unheard of"] = 10**6
    path.write_text(json.dumps(described))
    assert "has the id 1000000" in refused()


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
@pytest.mark.parametrize("fields", [{"num_hidden_layers": 10**9}, {"hidden_size": -16}, {"intermediate_size": 2**30}])
def test_a_llava_config_that_lies_is_refused(folder, refused, part, fields):
    shutil.rmtree(folder)
    save_llava(folder)
    config = json.loads((folder / "config.json").read_text())
    change(folder / "config.json", **{part: config[part] | fields})
    refused()
