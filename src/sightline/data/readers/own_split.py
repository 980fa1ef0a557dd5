"""Data that come divided: which of a folder's files and folders are which split, told from their names.

Names are those of Hugging Face `datasets`: `train.parquet`, `test-00000-of-00002.parquet`, a folder `train`, also below
`data`. What is done with the splits is not known here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from sightline.data.readers.containers import is_picture
from sightline.data.readers.folder import names_in
from sightline.data.readers.hub import HUB, split_names
from sightline.data.readers.items import LINES, PARQUET, SHARDS, ends

__all__ = [
    "HELD_OUT_NAMES",
    "METADATA",
    "SIDES",
    "SPLITS",
    "check_one_split",
    "files_of_split",
    "holds_no_rows",
    "own_split",
    "side_of",
    "split_of",
]

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.json", "metadata.parquet", "data.jsonl")
NO_ROWS = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"})  # but about them
BESIDE_LABELS = (".job.json", ".bad.jsonl")  # what `sightline label` leaves beside its rows
HELD_OUT_NAMES = ("validation", "val", "valid", "dev", "test")  # what chooses among models goes before what judges them
SPLITS = frozenset({"train", *HELD_OUT_NAMES})
# Words for what is learned from and what is held out, in lower case.
SIDES = dict.fromkeys(("train", "training"), "train")
SIDES |= dict.fromkeys((*HELD_OUT_NAMES, "testing", "eval", "evaluation"), "test")
# As `datasets` looks for them, between whatever separates words.
_WORD = re.compile(rf"(?:^|[-._ /0-9])({'|'.join(SIDES)})(?=[-._ /0-9]|$)", re.I)
_FILE = re.compile(r"(train|validation|valid|val|dev|test)(-\d+-of-\d+(-\w+)?|[-_.]\d+)?")


def holds_no_rows(name: str) -> bool:
    """Whether a file of such a name lies beside rows and has none.

    >>> holds_no_rows("captions.job.json"), holds_no_rows("captions.jsonl")
    (True, False)
    """
    return name in NO_ROWS or name.endswith(BESIDE_LABELS)


def split_of(name: str) -> str | None:
    """The split that a file of rows belongs to, by its path in a data set's folder; None: its name tells none.

    >>> [split_of(one) for one in ("data/test-00000-of-00002.parquet", "val/0.tar", "train_01.tar.gz", "mine.parquet")]
    ['test', 'val', 'train', None]
    """
    first, _, rest = name.removeprefix("data/").partition("/")
    if rest:
        return first if first in SPLITS else None
    ending = next((one for one in sorted(LINES + PARQUET + SHARDS, key=len, reverse=True) if ends(first, (one,))), "")
    match = _FILE.fullmatch(first[: len(first) - len(ending)])
    return match[1] if match else None


def side_of(name: str) -> str | None:
    """Whether a path in a data set's folder speaks of what is learned from ("train") or of what is held out ("test").

    >>> [side_of(one) for one in ("en/train-0.parquet", "in1k-validation-00.tar", "Testing/a/1.png", "contest.tar")]
    ['train', 'test', 'test', None]
    """
    match = _WORD.search(name)
    return None if match is None else SIDES[match[1].lower()]


def check_one_split(path: Path, names: Iterable[str]) -> None:
    """Refuse a held-out split of `path` among other files of rows: all of them would be learned from.

    Raises:
        ValueError: as said; the message says how one split is given.
    """
    names = list(names)
    found = {split_of(name): name for name in names}
    if len(found) > 1 and not found.keys().isdisjoint(HELD_OUT_NAMES):
        splits = sorted(split for split in found if split is not None)
        beside = f" beside {found[None]}" if None in found else ""
        raise ValueError(f"{path} holds {', '.join(splits)}{beside}: give one of them, as {path}@{splits[-1]}")
    sides = {side_of(name): name for name in names}
    if "test" in sides and len(sides) > 1:
        other = next(name for side, name in sides.items() if side != "test")
        raise ValueError(f"{path} holds {sides['test']} beside {other}: give the folder or the files of one split")


def files_of_split(address: Path) -> tuple[Path, list[Path]] | None:
    """The folder and the files of rows that `FOLDER@SPLIT` means; None where it is no such address.

    Raises:
        FileNotFoundError: the folder has no such split.
    """
    folder, _, split = str(address).rpartition("@")
    if split not in SPLITS or not Path(folder).is_dir():
        return None
    for place in (Path(folder), Path(folder) / "data"):
        for found in _splits_in(place) if place.is_dir() else ():
            if found.get(split):
                return place, found[split]
    raise FileNotFoundError(f"{folder} has no split {split!r}")


def own_split(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Where the training side and the held-out side of a data set lie that comes divided; None where it does not.

    A folder is divided that holds `train` and one of `HELD_OUT_NAMES`, as folders or as files of rows, itself or in
    its folder `data`, and no Parquet files, shards or folders of rows beside them; so is a file of `train` beside such
    files, and a dataset of the hub with such splits. Several files of a split are `FOLDER@SPLIT`.

    Raises:
        FileNotFoundError, ValueError, ImportError: the hub does not say which splits it has.
    """
    name = os.fspath(path)
    if name.startswith(HUB):
        return _split_of_hub(name)
    place = Path(name)
    if place.is_dir():
        return None if any((place / one).is_file() for one in METADATA) else _sides_of(place) or _below(place)
    if place.is_file() and split_of(place.name) == "train":
        files, _ = _splits_in(place.parent)
        alike = {split: [one for one in found if one.suffix == place.suffix] for split, found in files.items()}
        return _two(place.parent, {**alike, "train": [place]})
    return None


_Splits: TypeAlias = dict[str | None, list[Path]]  # None: what belongs to no split


def _splits_in(folder: Path) -> tuple[_Splits, _Splits]:
    """By split, the files of rows in `folder`, and the folder of that name."""
    files: _Splits = {}
    folders: _Splits = {}
    for one in sorted(folder.iterdir()):
        if one.name.startswith(".") or holds_no_rows(one.name):
            continue
        if one.is_dir():
            folders.setdefault(one.name if one.name in SPLITS else None, []).append(one)
        elif ends(one.name, LINES + PARQUET + SHARDS):
            files.setdefault(split_of(one.name), []).append(one)
    return files, folders


def _sides_of(folder: Path) -> tuple[str, str] | None:
    """The two sides of a folder; files of rows go before folders, which may hold their pictures."""
    files, folders = _splits_in(folder)
    # Is it a split beside something, or are these classes? Who reads the folder refuses it.
    if (sides := _two(folder, files)) is not None:
        return None if any(ends(one.name, PARQUET + SHARDS) for one in files.get(None, ())) else sides
    if files:  # they say what is learned, not the folders of their pictures
        return None
    sides = _two(folder, folders)
    return None if sides is None or any(map(_holds_rows, folders.get(None, ()))) else sides


def _below(place: Path) -> tuple[str, str] | None:
    """The two sides of the folder `data`, unless files of rows beside it say what is in it."""
    files, _ = _splits_in(place)
    below = place / "data"
    return _sides_of(below) if below.is_dir() and not files else None


def _two(folder: Path, found: _Splits) -> tuple[str, str] | None:
    held = next((name for name in HELD_OUT_NAMES if found.get(name)), None)
    if held is None or not found.get("train"):
        return None
    return _address(folder, "train", found["train"]), _address(folder, held, found[held])


def _holds_rows(folder: Path) -> bool:
    return any(is_picture(name) or ends(name, PARQUET + SHARDS) for name in names_in(folder))


def _address(folder: Path, split: str, found: list[Path]) -> str:
    return str(found[0]) if len(found) == 1 else f"{folder}@{split}"


def _split_of_hub(address: str) -> tuple[str, str] | None:
    bare, _, split = address.partition("@")
    if split not in ("", "train"):
        return None
    names = split_names(bare)
    held = next((name for name in HELD_OUT_NAMES if name in names), None)
    return (f"{bare}@train", f"{bare}@{held}") if held and "train" in names else None
