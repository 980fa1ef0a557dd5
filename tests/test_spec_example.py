"""The design document's example runs as it is written, from a checkout, also where the package is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

CHECKOUT = Path(__file__).parents[1]

EXAMPLE = """
from models.vision_encoder import VLM, VLLMconfig

config = VLLMconfig(
    hidden_size=768, num_attention_heads=12, num_hidden_layers=12, vocab_size=50000,
    image_special_token='@' * 196,   # the placeholder: one character for each of the 196 patches
    image_ids=[34] * 196,            # the ids of the image tokens
    use_moe=True, num_experts_per_token=2, n_routed_experts=8,
)
model = VLM(params=config, vision_model_path="./models/clip-vit-base-patch16")

text = "请描述这张图片："             # "Please describe this picture:"
image = Image.open("example.jpg")
input_ids = tokenizer(text + '@' * 196, return_tensors='pt')['input_ids']   # '@' is id 34 in the tokenizer
pixel_values = VLM.image2tensor(image, model.processor).unsqueeze(0)
with torch.no_grad():
    outputs = model(input_ids=input_ids, pixel_values=pixel_values, use_cache=True)
logits = outputs.logits
predicted_token_id = torch.argmax(logits[0, -1, :]).item()
"""

# What the example takes for granted: the names it uses, a picture, a tokenizer and a CLIP folder (of few layers).
BEFORE = """
import torch
from PIL import Image
from sightline.tokenizer import train_tokenizer

torch.set_num_threads(1)
tokenizer = train_tokenizer(["请描述这张图片：一只猫。", "请描述这张图片：一只狗。"], 300)
"""

AFTER = """
assert pixel_values.shape == (1, 1, 3, 224, 224)
assert (input_ids == 34).sum() == 196
assert logits.shape == (1, input_ids.shape[1], 50000)
assert outputs.past_key_values.get_seq_length() == input_ids.shape[1]
assert 0 <= predicted_token_id < 50000
assert len(model.model.layers) == config.num_hidden_layers
print("ran")
"""


def run(code, folder):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def save_clip(folder):
    vision = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12, "patch_size": 16}
    text = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    CLIPModel(CLIPConfig(vision_config=vision, text_config={**text, "vocab_size": 99})).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder that is a checkout as far as the example can tell: its `models` also holds the CLIP folder."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "models").mkdir()
    for name in ("__init__.py", "vision_encoder.py"):
        (folder / "models" / name).symlink_to(CHECKOUT / "models" / name)
    (folder / "src").symlink_to(CHECKOUT / "src")
    save_clip(folder / "models" / "clip-vit-base-patch16")
    Image.radial_gradient("L").convert("RGB").resize((320, 200)).save(folder / "example.jpg")
    return folder


# The editable installation is one more entry of the path.
UNINSTALL = """
import sys
sys.path = [entry for entry in sys.path if not entry.endswith("src")]
import models.vision_encoder as face
assert sorted(face.__all__) == ["VLLMconfig", "VLM", "VisionEncoder"]
"""


def test_a_shallow_one_runs_also_without_installing(checkout):
    shallow = EXAMPLE.replace("num_hidden_layers=12", "num_hidden_layers=1")
    assert shallow != EXAMPLE
    assert run(UNINSTALL + BEFORE + shallow + AFTER, checkout) == "ran\n"


@pytest.mark.slow
def test_the_example_runs_as_it_is_written(checkout):
    assert run(BEFORE + EXAMPLE + AFTER, checkout) == "ran\n"
