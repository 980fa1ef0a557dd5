"""A model of random weights, wide enough that what stands in the context shows in attention and logits."""

import pytest
import torch
from PIL import Image

import sightline


@pytest.fixture(scope="session")
def wide(tiny_model_folder):
    """The tiny checkpoint (4 x 4 patches of 8 pixels, 2 layers, 2 heads) with weights some times as large."""
    model, processor = sightline.load(tiny_model_folder, "cpu", "float32")
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "embed" not in name:
            weight.data.mul_(6.0)
    return model, processor


@pytest.fixture(scope="session")
def pictures():
    """Two pictures of noise, each patch unlike the others."""
    torch.manual_seed(1)
    pixels = (torch.rand(2, 40, 32, 3) * 255).to(torch.uint8).numpy()
    return [Image.fromarray(one) for one in pixels]


@pytest.fixture
def ask():
    def messages(*images, question="What is this?"):
        content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": question}]
        return [{"role": "user", "content": content}]

    return messages


@pytest.fixture
def forced(wide, pictures, ask):
    """Prompt and answer of one picture or more, teacher-forced."""
    from sightline.explain.forced import force

    def make(count=1, model=wide[0], answer=(300, 301, 302)):
        inputs = wide[1].apply_chat_template(
            ask(*pictures[:count]), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return force(model, inputs, answer)

    return make
