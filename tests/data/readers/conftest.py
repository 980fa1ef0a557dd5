"""Small pictures and the containers that hold them."""

import csv
import io
import json
import tarfile

import pytest
from PIL import Image


def png(number, size=(8, 8)):
    """The bytes of a picture unlike that of any other number."""
    held = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256 % 256, 200)).save(held, "PNG")
    return held.getvalue()


@pytest.fixture
def picture_bytes():
    return png


@pytest.fixture
def folder(tmp_path):
    """A folder with the pictures 0.png to 4.png."""
    place = tmp_path / "data"
    place.mkdir()
    for number in range(5):
        (place / f"{number}.png").write_bytes(png(number))
    return place


@pytest.fixture
def write_csv(folder):
    def write(*rows, name="metadata.csv", delimiter=","):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
        return folder

    return write


@pytest.fixture
def write_lines(folder):
    def write(*rows, name="metadata.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def write_parquet(tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    from pyarrow import parquet

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(rows, name="rows.parquet", **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path, **options)
        return path

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


def said(row):
    """Roles and texts of a row, and where its pictures stand."""
    return [
        (message["role"], "".join(part.get("text", "[picture]") for part in message["content"]))
        for message in row.messages
    ]


@pytest.fixture(name="said")
def _said():
    return said
