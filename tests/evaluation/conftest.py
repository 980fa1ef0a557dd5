"""A model, a world of pictures as small as it wants them, and a stand-in for the model that says what it is told."""

import pytest
import torch

import sightline
from sightline.data.scenes import World
from sightline.evaluation.answering import Reply
from sightline.evaluation.tasks import scene_tasks


@pytest.fixture(scope="session")
def tiny(tiny_model_folder):
    """Model and processor, in float32 on the CPU; the weights are so large that every prompt gets its own answer."""
    model, processor = sightline.load(tiny_model_folder, device="cpu", dtype="float32")
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.4)
    model.config.max_position_embeddings = 80
    return model, processor


@pytest.fixture(scope="session")
def world():
    return World(split="test", things=4, image_size=32)


@pytest.fixture
def tasks(world):
    """Three kinds (one of two pictures) in two languages."""
    return scene_tasks(world, ["name", "same_different", "size"], ["en", "zh"], 3)


@pytest.fixture
def oracle(monkeypatch):
    """A model that answers `say(question)`, by default the truth, with a half of its faith."""

    class Oracle:
        asked = []

        @staticmethod
        def say(question):
            return question.truths[0]

    def answer(model, processor, questions, batch_size, max_new_tokens):
        for start in range(0, len(questions), batch_size):
            batch = questions[start : start + batch_size]
            Oracle.asked += [question.key for question in batch]
            yield [(question, Reply(Oracle.say(question), 0.5)) for question in batch]

    for module in ("evaluate", "probe"):
        monkeypatch.setattr(f"sightline.evaluation.{module}.answer", answer)
    return Oracle
