"""One tiny model with a real tokenizer, for the engine's tests; they leave it as they found it."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def loaded(tiny_model_folder):
    """The model and its processor, in float32. Weights are wide, so that no two logits are nearly equal."""
    from sightline.interop.load import load

    model, processor = load(tiny_model_folder, device="cpu", dtype="float32")
    return widened(model), processor


def widened(model):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@pytest.fixture(scope="session")
def make_shape(loaded):
    """A model of another shape for the same processor: the tiny one's config, with some fields changed."""
    from sightline.config import VLMConfig
    from sightline.nn.vlm import VLM

    def make(**fields):
        torch.manual_seed(1)
        return widened(VLM(VLMConfig.from_dict({**loaded[0].config.to_dict(), **fields})).eval()), loaded[1]

    return make


@pytest.fixture(scope="session")
def processor(loaded):
    return loaded[1]
