"""Every shipped recipe runs a few steps on small stand-ins for what it trains and reads."""

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, LlamaConfig

import sightline
from sightline.config import VLMConfig
from sightline.nn.vlm import VLM
from sightline.training.build import build
from sightline.training.loop import train
from sightline.training.recipe import Recipe
from sightline.training.recipe_file import load_recipe

from ..stand_ins import TOWER, save_language, save_tower
from .conftest import TINY

SMALL_RUN = ["train.batch_size=2", "train.accumulate=1", "train.workers=0", "train.compile=false"]
SMALL_RUN += ["train.device=cpu", "train.dtype=float32", "train.eval_per_kind=0"]
FRESH = ["tiny", "tiny-moe", "small-gpu"]
ALL = [*FRESH, "tiny-smollm2", "clip-smollm2", "finetune", "finetune-lora", "moe-upcycle"]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """Folders: a small VLM, a pretrained tower and language model, and files of conversations."""
    root = tmp_path_factory.mktemp("stand-ins")
    model, processor = build(Recipe.model_validate(TINY))
    model.save_pretrained(root / "vlm")
    processor.save_pretrained(root / "vlm")
    clip = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    save_tower(root / "tower", CLIPVisionModel(CLIPVisionConfig(**TOWER)), clip)
    save_language(root / "language", LlamaConfig, tie_word_embeddings=True, max_position_embeddings=512)
    Image.new("RGB", (30, 20), "red").save(root / "red.png")
    talk = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Red."}]
    llava = [{"id": str(n), "image": "red.png", "conversations": talk} for n in range(4)]
    (root / "llava.json").write_text(json.dumps(llava))
    asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    row = {"messages": [asked, {"role": "assistant", "content": "Red."}], "images": ["red.png"]}
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(4)))
    return root


def small(name, root):
    """The recipe, cut down to what a test can train: its stages, each of two steps, are its own."""
    overrides: dict[str, list[str]] = {
        "tiny-smollm2": [f"model.vision={root / 'vlm'}", f"model.language={root / 'language'}"],
        "clip-smollm2": [f"model.vision={root / 'tower'}", f"model.language={root / 'language'}"],
        "finetune": [f"model.checkpoint={root / 'vlm'}"],
        "finetune-lora": [f"model.checkpoint={root / 'vlm'}"],
        "moe-upcycle": [f"model.checkpoint={root / 'vlm'}"],
    }
    fields = load_recipe(f"recipes/{name}.yaml", [*SMALL_RUN, *overrides.get(name, [])]).model_dump()
    for stage in fields["stages"]:
        stage |= dict.fromkeys(("samples", "tokens", "minutes"), None) | {"steps": 2}
        stage["train"].pop("batch_size", None)
        stage["train"].pop("accumulate", None)
        for file in stage["data"].get("files", ()):
            file |= {"path": str(root / "llava.json"), "image_folder": str(root)}
    for file in fields["data"]["files"]:
        kind = "llava.json" if name == "clip-smollm2" else "rows.jsonl"
        file |= {"path": str(root / kind), "image_folder": str(root)}
    if name in FRESH:
        experts = {key: value for key, value in fields["model"]["overrides"].items() if "expert" in key or "moe" in key}
        fields["model"]["overrides"] = {**TINY["model"]["overrides"], **experts}
        fields["tokenizer"] = TINY["tokenizer"]
    if fields["data"]["world"]:
        fields["data"]["world"] |= {"things": 4, "questions": 3}
    return Recipe.model_validate(fields)


@pytest.mark.parametrize("name", ALL)
def test_a_shipped_recipe_trains_every_stage_and_leaves_a_model(name, stand_ins, tmp_path):
    recipe = small(name, stand_ins)
    folder = train(recipe, tmp_path / "run", console=Console(file=io.StringIO(), width=200))
    stages = [json.loads(line)["stage"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert stages == [stage.name for stage in recipe.stages for _ in range(2)]
    model, processor = sightline.load(folder, device="cpu", dtype="float32")
    assert model.config.use_moe == (name in ("tiny-moe", "moe-upcycle"))
    messages = [{"role": "user", "content": [{"type": "image", "image": str(stand_ins / "red.png")}]}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert torch.isfinite(model(**inputs).logits).all()


@pytest.mark.parametrize(("name", "millions"), [("tiny-moe", 18), ("small-gpu", 100)])
def test_the_overrides_give_a_model_of_the_size_that_is_told(name, millions):
    recipe = load_recipe(f"recipes/{name}.yaml")
    config = VLMConfig(**recipe.model.fresh_fields(), vocab_size=recipe.tokenizer.vocab_size)
    with torch.device("meta"):
        model = VLM(config)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(millions * 1e6, rel=0.05)
    assert config.num_image_tokens == 196


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_opens_with_command_hardware_time_and_score(name):
    opening = Path(f"recipes/{name}.yaml").read_text().partition("name:")[0]
    assert any(f" sightline train {given}" in opening for given in (name, f"recipes/{name}.yaml"))
    for said in ("# Command:  ", "# Hardware: ", "# Time and score: "):
        assert said in opening
    assert "TO BE STATED" not in opening


def test_no_recipe_is_left_out():
    assert {path.stem for path in Path("recipes").glob("*.yaml")} == set(ALL)
