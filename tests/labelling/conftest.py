"""Pictures in every kind of container, and a job to label them."""

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # for `fakes`, which is no test module


@pytest.fixture(autouse=True)
def small_cache(monkeypatch):
    """Blocks enough for models of a few thousand weights: zeroing half a GiB takes a third of a second."""
    monkeypatch.setattr("sightline.engine.engine.default_budget", lambda *_: 2**22)


def png(number, size=8):
    """The bytes of a picture unlike that of any other number."""
    held = io.BytesIO()
    Image.new("RGB", (size, size), (number % 256, number // 256 % 256, 200)).save(held, "PNG")
    return held.getvalue()


@pytest.fixture
def picture_bytes():
    return png


@pytest.fixture
def make_pictures(tmp_path):
    """A folder of pictures with the given names, at `tmp_path / "data"`."""

    def make(*names, folder="data"):
        for number, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
        return tmp_path / folder

    return make


@pytest.fixture
def write_lines(tmp_path):
    def write(*rows, name="rows.jsonl"):
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def write_shard(tmp_path):
    def write(name, files):
        """A tar of `files`, (name, content) each."""
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
            for file, content in files:
                info = tarfile.TarInfo(file)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def start(tmp_path):
    """A `Run` of the fake model over some data; options as `fakes.Run`."""
    from fakes import Run

    return lambda data, **options: Run(data, options.pop("out", tmp_path / "out" / "labels.jsonl"), **options)


@pytest.fixture(scope="session")
def talkative(tiny_model_folder, tmp_path_factory):
    """The tiny model, but of its random tokens it says only those that are words."""
    import sightline

    model, processor = sightline.load(tiny_model_folder, dtype="float32")
    words = [processor.decode([token]).strip().isalpha() for token in range(model.config.vocab_size)]
    head = model.get_output_embeddings().weight.data
    head[[number for number, is_word in enumerate(words) if not is_word]] = 0
    folder = tmp_path_factory.mktemp("models") / "talkative"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
