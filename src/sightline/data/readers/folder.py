"""Pictures that lie in folders, whose names or text files say what is on them: `PictureItems`. It opens none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sightline.data.readers.items import Item, Place
from sightline.data.readers.names import Names

__all__ = ["PictureItems", "caption_of", "class_of", "names_in", "walk"]


class PictureItems:
    """Pictures in a folder: each row is a path relative to it. It may be shared by the workers of a DataLoader.

    With `classes` a row's `label` is the name of the picture's own folder; with `captions` its `text` is what the file
    of the same name with the ending .txt says.
    """

    def __init__(self, folder: Path, names: Iterable[str], classes: bool = False, captions: bool = False):
        self.folder, self.names, self.classes, self.captions = folder, Names(names), classes, captions

    def __len__(self) -> int:
        return len(self.names)

    def read(self, start: int, stop: int) -> Iterator[Item]:
        for index in range(start, min(stop, len(self))):
            yield self[index]

    def __getitem__(self, index: int) -> Item:
        name = self.names[index]
        if self.captions:
            return self._captioned(name)
        return Item(name, {"image": name, **({"label": class_of(name)} if self.classes else {})})

    def place(self, index: int) -> Place:
        return Place("", "", self.names[index])

    def fingerprint(self) -> str:
        """SHA-256 of the pictures' names and sizes, and of their captions."""
        digest = hashlib.sha256()
        for name in self.names:
            size = (self.folder / name).stat().st_size
            digest.update(f"{name} {size}\n".encode(errors="surrogateescape"))
            if self.captions and (text := self.folder / caption_of(name)).is_file():
                digest.update(text.read_bytes())
        return digest.hexdigest()

    def _captioned(self, name: str) -> Item:
        beside = caption_of(name)
        try:
            return Item(name, {"image": name, "text": (self.folder / beside).read_text(encoding="utf-8-sig")})
        except FileNotFoundError:
            return Item(name, {}, f"it has no caption: write it into {beside}")
        except (OSError, ValueError) as error:
            return Item(name, {}, f"its caption {beside} cannot be read as UTF-8: {error}")


def caption_of(name: str) -> str:
    """The text file beside a picture.

    >>> caption_of("10_cats/a.b.png")
    '10_cats/a.b.txt'
    """
    return f"{name.rpartition('.')[0]}.txt"


def class_of(name: str) -> str:
    """The class of a picture by its folder's name, in words.

    >>> class_of("birds/grey_heron/017.jpg")
    'grey heron'
    """
    return name.rpartition("/")[0].rpartition("/")[2].replace("_", " ").strip()


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, into linked folders, too, but not where they lead back up, and not into hidden ones.

    Raises:
        ValueError: a folder cannot be listed.
    """
    root = os.fspath(folder)
    way: dict[str, frozenset[Path]] = {root: frozenset({folder.resolve()})}  # the folders that led to each
    for place, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        here, led = Path(place).resolve(), way.pop(place)
        kept = []
        for name in folders:
            real = Path(place, name).resolve()
            if name[0] != "." and not here.is_relative_to(real) and real not in led:
                kept.append(name)
                way[os.path.join(place, name)] = led | {real}
        folders[:] = kept
        yield place, folders, files


def _refuse(error: OSError) -> None:
    raise ValueError(f"the folder {error.filename} cannot be read: {error.strerror}") from None


def names_in(folder: Path, skip: Path | None = None) -> list[str]:
    """Paths of the files below `folder`, relative to it and sorted, with '/' between their parts.

    What is hidden, or lies in the folder `skip`, is left out.
    """
    found = []
    for place, folders, files in walk(folder):
        folders[:] = [name for name in folders if Path(place, name) != skip]
        found += [Path(place, name).relative_to(folder).as_posix() for name in files if name[0] != "."]
    return sorted(found)
