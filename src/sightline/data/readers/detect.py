"""Where in a folder the rows are, and what a format is in words: `find` and `describe`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sightline.data.readers.containers import is_picture, open_containers, open_file
from sightline.data.readers.folder import PictureItems, names_in
from sightline.data.readers.items import LINES, PARQUET, SHARDS, Items, ends
from sightline.data.readers.own_split import METADATA, check_one_split, files_of_split, holds_no_rows
from sightline.data.readers.picture_folders import describe_pictures, is_training_alone, open_pictures
from sightline.data.readers.shapes import Reading

__all__ = ["describe", "find"]

LOOKED_AT = 100  # rows, until one shows a picture and the columns that were named
ALL_LOOKED_AT = 20_000  # rows, before a folder's pictures are said to be shown by none
NO_PICTURES = "no pictures"


def find(path: Path, format: str | None = None) -> Items:
    """The rows of a file or folder.

    A folder's rows are, in this order: those of its metadata file, of its one file of rows, of all its Parquet files or
    shards, or its pictures, if they lie in folders named after classes or captions lie beside them. `format` classes:
    always those of classes. Of a data set that comes divided, FOLDER@SPLIT is one split.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `open_data`.
    """
    if not path.is_dir():
        return _open_split(path, format) or open_file(path, text_only=True)
    if format != "classes":
        files = [name for name in METADATA if (path / name).is_file()]
        files = files or sorted(
            one.name
            for one in path.iterdir()
            if ends(one.name, LINES) and one.name[0] != "." and one.is_file() and not holds_no_rows(one.name)
        )
        if len(files) > 1:
            raise ValueError(f"{path} holds {len(files)} files of rows ({', '.join(files[:3])}): give one of them")
        if files:
            return open_file(path / files[0])
    names = names_in(path)
    containers = [path / name for name in names if ends(name, PARQUET + SHARDS)]
    if containers and format != "classes":
        check_one_split(path, (name for name in names if ends(name, PARQUET + SHARDS)))
        return open_containers(containers, path, text_only=True)
    if format != "classes" and is_training_alone(names):
        return find(path / "train", format)
    return open_pictures(path, names, sure=format == "classes")


def _open_split(address: Path, format: str | None) -> Items | None:
    """The rows of FOLDER@SPLIT; None where `address` is no such."""
    found = None if address.exists() else files_of_split(address)
    if found is None:
        return None
    folder, files = found
    if len(files) == 1:
        return find(files[0], format)
    if not all(ends(file, PARQUET + SHARDS) for file in files):
        raise ValueError(f"{address} is {len(files)} files of rows ({files[0].name}, ...): give one of them")
    return open_containers(files, folder, text_only=True)


def describe(items: Items, reading: Reading, path: str) -> str:
    """The format in words.

    Raises:
        ValueError: a column that `reading` names is in none of the first rows.
    """
    if isinstance(items, PictureItems):
        return describe_pictures(items, _asked(reading, items))
    columns: dict[str, None] = dict.fromkeys(getattr(items, "columns", None) or ())
    named = {reading.image_column, reading.question_column, reading.answer_column} - {None}
    shape = None
    # As few rows as tell it: they may hold large pictures.
    for item in items.read(0, LOOKED_AT):
        columns |= dict.fromkeys(item.fields)
        if shape is None or NO_PICTURES in shape:
            shape = _shape(reading, item.fields) or shape
        if shape and NO_PICTURES not in shape and named <= columns.keys():
            break
    for column in named - columns.keys():
        raise ValueError(f"{path} has no column {column!r}, only {', '.join(columns) or 'none'}")
    if (NO_PICTURES in shape if shape else not columns) and Path(path).is_dir():
        _refuse_unshown(items, reading, path)
    return f"{shape or 'rows of no known format'} in {_container(items)}"


def _refuse_unshown(items: Items, reading: Reading, path: str) -> None:
    """Raise a ValueError where pictures lie beside a table's rows, and no row shows one: they were not found in it."""
    pictures = sum(map(is_picture, names_in(Path(path))))
    columns = getattr(items, "columns", None)
    # A header speaks for all rows; other rows are looked at, as far as that takes no time.
    if not pictures or (columns is None and len(items) > ALL_LOOKED_AT):
        return
    rows = [] if columns is not None else items.read(LOOKED_AT, len(items))
    if all(NO_PICTURES in (_shape(reading, item.fields) or NO_PICTURES) for item in rows):
        raise ValueError(
            f"{pictures} pictures lie in {path} and no row shows one: name the column by image_column "
            "(--image-column), or give the file of rows, or format classes if their folders are classes"
        )


def _shape(reading: Reading, fields: dict[str, Any]) -> str | None:
    held = {name: value for name, value in fields.items() if value is not None}
    try:
        words = reading.words_of(held, "")
        if words is None:
            table = reading.table(held)
            pictures = f"pictures in {table.image!r}" if table.image else NO_PICTURES
            asked = f"questions in {table.question!r}" if table.question else f"asked: {table.asked!r}"
            return f"rows with {pictures}, {asked}, answers in {table.answer!r},"
        if words == "conversations":
            return f"{_dialect(held['conversations'])} rows"
        return {"messages": "chat", "texts": "the_cauldron's"}[words] + " rows"
    except ValueError:
        return None


def _dialect(turns: Any) -> str:
    start = turns[:200] if isinstance(turns, str) else str(turns[:1])
    return "LLaVA's" if "from" in start and "value" in start else "minimind-v's"


def _asked(reading: Reading, items: PictureItems) -> str:
    return reading.table({"image": "", "text" if items.captions else "label": ""}).asked


def _container(items: Items) -> str:
    kind = getattr(items, "kind", None)
    if kind:
        return kind
    return {"ParquetItems": "Parquet", "ShardItems": "WebDataset shards"}.get(
        type(items).__name__, "a dataset of the hub"
    )
