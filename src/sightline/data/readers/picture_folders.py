"""Folders of pictures without a file of rows: what their folders' names or the text files beside them say.

Which of a folder's files hold rows is `detect.py`'s to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightline.data.readers.containers import is_picture
from sightline.data.readers.folder import PictureItems, caption_of, class_of, walk
from sightline.data.readers.items import LINES, ends
from sightline.data.readers.own_split import HELD_OUT_NAMES, METADATA, SIDES, SPLITS

__all__ = ["describe_pictures", "is_training_alone", "open_pictures"]

SHOWN = 5  # names in a message
LOOKED_AT = 50  # captions that are opened to see whether they hold words: some may be empty, or numbers
# What folders of pictures are called beside folders of labels, in lower case.
NO_CLASSES = {"images", "image", "img", "imgs", "pictures", "photos", "jpegimages"}
OF_A_RUN = {"recipe.yaml", "settings.json"}  # in the folders of training and evaluation, whose rows are their own


def is_training_alone(names: Sequence[str]) -> bool:
    """Whether the only folder is `train`, with nothing to read beside it."""
    tops = {name.partition("/")[0] for name in names if "/" in name}
    return tops == {"train"} and not any(is_picture(name) for name in names if "/" not in name)


def open_pictures(path: Path, names: Sequence[str], sure: bool) -> PictureItems:
    """The pictures among the files `names` below `path`, with their captions or classes; `sure`: classes it is.

    Raises:
        ValueError: there are none, or nothing says what to learn of them, or something may say it that is not read.
    """
    pictures = [name for name in names if is_picture(name)]
    _refuse_splits(path, pictures, sure)
    if not sure:
        _refuse_rows_below(path, names)
    if not pictures:
        raise ValueError(f"{path} holds no pictures, and no JSON, JSONL, CSV, Parquet or WebDataset shards")
    if not sure and _have_captions(path, pictures, set(names)):
        return PictureItems(path, pictures, captions=True)
    loose = [name for name in pictures if "/" not in name]
    if loose:
        raise ValueError(
            f"{path} holds {len(loose)} pictures ({loose[0]}) and nothing that tells what to learn of them: add a "
            "metadata.csv with the columns file_name, question and answer, or put them into folders named after classes"
        )
    if not sure and {class_of(name).lower() for name in pictures} <= NO_CLASSES:
        raise ValueError(
            f"{path} has its pictures in {class_of(pictures[0])!r}, which is no class, and nothing that tells what to "
            "learn of them: add a metadata.csv with the columns file_name, question and answer, or give format classes "
            "if it is one"
        )
    return PictureItems(path, pictures, classes=True)


def _refuse_splits(path: Path, pictures: list[str], sure: bool) -> None:
    tops = {name.partition("/")[0] for name in pictures}
    splits = SPLITS & tops
    if splits and tops == splits:
        raise ValueError(f"{path} holds {', '.join(sorted(splits))}: give one of these folders")
    if not sure and "train" in splits and not splits.isdisjoint(HELD_OUT_NAMES):
        raise ValueError(
            f"{path} holds {', '.join(sorted(splits))} beside {min(tops - splits)}: give one of these folders, or "
            "format classes if all are classes"
        )
    sides = {SIDES[part]: part for name in pictures for part in name.lower().split("/")[:-1] if part in SIDES}
    if not sure and len(sides) > 1:
        raise ValueError(
            f"{path} holds folders called {' and '.join(sorted(sides.values()))}: give that of one split, or format "
            "classes if these are classes"
        )


def _refuse_rows_below(path: Path, names: Sequence[str]) -> None:
    """Refuse folders that have rows of their own: read as classes, they would lose what these say."""
    # Of JSON only what is named so: single annotations lie beside their pictures too.
    rows = tuple(ending for ending in LINES if ending != ".json")
    parts = [name.rpartition("/") for name in names]
    runs = {folder for folder, _, file in parts if file in OF_A_RUN}
    for folder, slash, file in parts:
        if slash and folder not in runs and (file in METADATA or ends(file, rows)):
            raise ValueError(f"{path} holds {folder}/{file}: give that folder, or format classes if all are classes")


def _have_captions(path: Path, pictures: list[str], names: set[str]) -> bool:
    """Whether text files lie beside most pictures, and hold words: boxes of detectors lie there too, in numbers."""
    captioned = [name for name in pictures if caption_of(name) in names]
    return 2 * len(captioned) > len(pictures) and any(
        _has_words(path / caption_of(name)) for name in captioned[:LOOKED_AT]
    )


def _has_words(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as held:
        return any(map(str.isalpha, held.read(1000)))


def describe_pictures(items: PictureItems, asked: str) -> str:
    """The format in words, with the folders that look like classes without a picture."""
    if items.captions:
        return f"pictures with captions in text files beside them; asked: {asked!r}"
    classes = sorted({class_of(name) for name in items.names})
    count = f"{len(classes)} class" + ("es" if len(classes) > 1 else "")
    empty = _without_pictures(items)
    beside = f"; no picture is in {_listed(empty)}" if empty else ""
    return f"pictures in folders named after {count} ({_listed(classes)}){beside}; asked: {asked!r}"


def _without_pictures(items: PictureItems) -> list[str]:
    """Folders without folders in them that hold no picture, where others have some."""
    shown = {name.rpartition("/")[0] for name in items.names}
    found = []
    for place, folders, _ in walk(items.folder):
        if not folders:
            found.append(Path(place).relative_to(items.folder).as_posix())
    return sorted(place for place in found if place not in shown)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
