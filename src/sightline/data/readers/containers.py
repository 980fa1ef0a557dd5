"""Which container lies at a path, told from its name and from the names in it: `open_items`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightline.data.readers.folder import PictureItems, names_in
from sightline.data.readers.items import LINES, PARQUET, PICTURES, SHARDS, Items, ends

__all__ = ["is_picture", "open_containers", "open_file", "open_items"]


def open_items(path: Path, skip: Path | None = None, text_only: bool = False) -> Items:
    """The rows of a file or folder. A folder's are its pictures, or those of its Parquet files or shards.

    It is read with all folders below it, sorted by path; what is hidden, or lies in the folder `skip`, is not.

    Args:
        text_only: a shard's sample may lack a picture.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it holds no rows, several kinds of them, or is damaged.
        ImportError: pyarrow, which Parquet needs, is not installed.
    """
    if not path.is_dir():
        return open_file(path, text_only)
    names = names_in(path, skip and skip.resolve())
    pictures = [name for name in names if is_picture(name)]
    containers = [name for name in names if ends(name, PARQUET + SHARDS)]
    if pictures and containers:
        raise ValueError(
            f"{path} holds {len(pictures)} pictures and {len(containers)} files of them ({containers[0]}): "
            "give the folder or file of one kind"
        )
    if pictures:
        return PictureItems(path, pictures)
    if not containers:
        raise ValueError(f"{path} holds no pictures, Parquet files or WebDataset shards")
    return open_containers([path / name for name in containers], path, text_only)


def open_file(path: Path, text_only: bool = False) -> Items:
    """The rows of one file; raises as `open_items`."""
    from sightline.data.readers.lines import LineItems

    if not path.is_file():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if ends(path, LINES):
        return LineItems(path)
    if ends(path, PARQUET + SHARDS):
        return open_containers([path], path.parent, text_only)
    raise ValueError(f"{path} is none of a folder of pictures, JSON, JSONL, CSV, Parquet or WebDataset shards (.tar)")


def open_containers(paths: Sequence[Path], folder: Path, text_only: bool = False) -> Items:
    """The rows of Parquet files or of shards; raises as `open_items`."""
    # Local imports: pyarrow is an extra, and a quarter of a second.
    if all(ends(path, PARQUET) for path in paths):
        from sightline.data.readers.parquet import ParquetItems

        return ParquetItems(list(paths), folder)
    if all(ends(path, SHARDS) for path in paths):
        from sightline.data.readers.shards import ShardItems

        return ShardItems(list(paths), folder, text_only)
    raise ValueError(f"{folder} holds Parquet files and WebDataset shards: give the folder or file of one kind")


def is_picture(name: str) -> bool:
    _, dot, ending = name.rpartition(".")
    return bool(dot) and ending.lower() in PICTURES
