"""Every test: shape annotations are enforced (jaxtyping through beartype), nothing is looked up on a hub."""

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook("sightline.nn", "beartype.beartype")

# How long an example takes says something about the machine, not about the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")

# Models of a few thousand weights: a second thread costs more than it computes.
torch.set_num_threads(1)

# What is costly, so that no process is left with it alone at the end (`--dist loadfile`).
FIRST = (
    *("test_readme.py", "serving/test_load.py", "training/", "serving/test_page.py", "test_spec_example.py"),
    *("nn/test_fusion.py", "nn/test_moe_router.py", "engine/test_quantize.py", "engine/test_exactness.py"),
    *("data/test_truth_from_pixels.py", "readers/test_memory.py", "explain/test_planted.py"),
)


def pytest_collection_modifyitems(items):
    """Costly files first; the tests of a file stay together, and in order."""
    items.sort(key=lambda item: next((n for n, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)))


def pytest_collection_finish(session):
    """What is there by now stays: collecting garbage need not look at it again."""
    gc.collect()
    gc.freeze()


CORPUS = ["What is this?", "A red circle and a duck.", "左上角有什么？", "一只鸭子。", "How many ducks are there?"] * 4


@pytest.fixture(autouse=True)
def same_random_numbers():
    """A test draws the same, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    """A checkpoint with random weights as `sightline.load` takes it: 32-pixel images, 16 image tokens."""
    from sightline.config import VLMConfig
    from sightline.nn.vlm import VLM
    from sightline.processor import VLMProcessor
    from sightline.tokenizer import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer(CORPUS, 400)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = VLMConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        vision_config={"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, **tower},
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    VLM(config).save_pretrained(folder)
    VLMProcessor.from_config(config, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    """The path of a small picture: a red square on white."""
    from PIL import Image

    path = tmp_path_factory.mktemp("pictures") / "square.png"
    image = Image.new("RGB", (40, 30), "white")
    image.paste("red", (10, 5, 30, 25))
    image.save(path)
    return path
