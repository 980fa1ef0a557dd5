"""A processor without a model that reads much, and data to check with it."""

import json

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def processor(tiny_model_folder):
    """16 tokens a picture; 128 positions in its model."""
    from sightline.interop.load import load_processor

    return load_processor(tiny_model_folder)[1]


def noise(size=(48, 32)):
    return Image.effect_noise(size, 90).resize(size).convert("RGB")


@pytest.fixture
def write(tmp_path):
    """Rows of a chat file, each with a picture of its own unless it says otherwise."""
    folder = tmp_path / "data"
    folder.mkdir()

    def write_rows(*rows, name="rows.jsonl"):
        for row in rows:
            for image in row.get("images", ()):
                if not image.startswith(("no", "http", "data:")) and not (folder / image).exists():
                    noise().save(folder / image)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return folder / name

    return write_rows


def chat(*said, images=(), **fields):
    """A row whose turns are said by the user and the assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
    return {"messages": messages, "images": list(images), **fields}


@pytest.fixture(name="chat")
def _chat():
    return chat
