"""What is to be labelled, row by row: a folder of pictures, a JSONL or CSV file, Parquet files or WebDataset shards.

The containers are `sightline.data.readers`'. A row is handed on as its container holds it; what is asked about it, and
whether its picture can be opened, is not known here.
"""

from __future__ import annotations

import os
from pathlib import Path

from sightline.data.readers.containers import open_items
from sightline.data.readers.items import Item, Items

__all__ = ["Item", "Rows", "open_rows", "options_of"]

Rows = Items

_OPTIONS = {
    "PictureItems": frozenset[str](),
    "ShardItems": frozenset({"prompt_field"}),
}


def open_rows(data: str | os.PathLike[str], skip: Path | None = None) -> Rows:
    """The rows of a file or folder; those of a folder of pictures are the pictures.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `open_items`.
    """
    path = Path(data)
    # A linked file keeps its name and folder, which say what it is and where its pictures lie.
    return open_items(path.resolve() if path.is_dir() else path.parent.resolve() / path.name, skip)


def options_of(rows: Rows) -> frozenset[str]:
    """Those of `Asking` that mean something about `rows`, beside its prompt."""
    return _OPTIONS.get(type(rows).__name__, frozenset({"image_field", "prompt_field", "image_folder"}))
