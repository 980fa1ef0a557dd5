"""The samples of WebDataset shards: `ShardItems`.

Files of a tar whose paths agree up to the first dot of their names, and follow each other, are one sample. The shards
are read in place rather than through `webdataset`, whose streams cannot begin in the middle.
"""

from __future__ import annotations

import bisect
import json
import lzma
import re
import tarfile
import zlib
from array import array
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from sightline.data.readers.items import PICTURES, Item, Place, outline
from sightline.data.readers.names import Names

__all__ = ["ShardItems"]

_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
_META = re.compile("__[^/]*__/")  # what tells of the shard rather than of a sample
_TEXTS = frozenset({"txt", "json", "cls"})


class _Header(tarfile.TarInfo):
    """An entry's header. `tarfile` takes one that is damaged, or missing, for the end of all but a first entry."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros, which marks the end
            raise
        except tarfile.HeaderError as error:
            is_over = isinstance(error, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]
            reason = "its end is missing" if is_over else str(error)
            raise tarfile.ReadError(reason) from None


class ShardItems:
    """The samples of all `paths`, one shard after the other.

    A sample's fields are those of its `.json` (a question, say, or a conversation), its `.txt` as `txt`, its `.cls` as
    `label` unless the `.json` has one, its picture as `image`. With `text_only`, a sample may have no picture.

    Raises:
        ValueError: a shard is no tar, or is cut short; or all are empty.
    """

    def __init__(self, paths: list[Path], folder: Path, text_only: bool = False):
        self.folder, self._paths, self._text_only = folder, paths, text_only
        found = [_find(path) for path in paths]
        self._samples = [begins for begins, _ in found]  # where each sample begins
        self._keys = [keys for _, keys in found]
        self._compressed = [_is_compressed(path) for path in paths]
        self._starts = [0, *accumulate(map(len, self._samples))]
        if not len(self):
            raise ValueError(f"{paths[0] if len(paths) == 1 else folder} holds no samples")

    @property
    def is_compressed(self) -> bool:
        """Whether any shard is, so that it can be read in order only."""
        return any(self._compressed)

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> Iterator[Item]:
        stop = min(stop, len(self))
        while start < stop:
            shard = bisect.bisect_right(self._starts, start) - 1
            end = min(stop, self._starts[shard + 1])
            yield from self._read_shard(shard, start - self._starts[shard], end - self._starts[shard])
            start = end

    def __getitem__(self, index: int) -> Item:
        """Raises ValueError in a compressed shard, of which no part can be read alone."""
        shard = bisect.bisect_right(self._starts, index) - 1
        if self._compressed[shard]:
            raise ValueError(
                f"{self._paths[shard]} is compressed, so that it can be read in order only: decompress it (gunzip)"
            )
        return next(self.read(index, index + 1))

    def place(self, index: int) -> Place:
        shard = bisect.bisect_right(self._starts, index) - 1
        return self._place(shard, self._keys[shard][index - self._starts[shard]])

    def fingerprint(self) -> str:
        return outline((path.relative_to(self.folder).as_posix(), path) for path in self._paths)

    def _place(self, shard: int, key: str) -> Place:
        return Place(self._paths[shard].relative_to(self.folder).as_posix(), "", key)

    def _read_shard(self, shard: int, start: int, stop: int) -> Iterator[Item]:
        for key, files in _groups(self._paths[shard], self._samples[shard], start, stop):
            yield _item(str(self._place(shard, key)), files, self._text_only)


def _find(path: Path) -> tuple[array[int], Names]:
    """The byte of the shard, decompressed, where each sample begins; and the samples' keys."""
    found = array("q")

    def keys() -> Iterator[str]:
        latest = None
        with tarfile.open(path, tarinfo=_Header) as tar:
            for key, _, member in _members(tar):
                if key != latest:
                    found.append(member.offset)
                    yield key
                latest = key

    try:
        return found, Names(keys())
    except _DAMAGED as error:
        raise ValueError(f"{path} is damaged or cut short, after {len(found)} samples: {error}") from None


def _is_compressed(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return False
    except tarfile.ReadError:
        return True


def _groups(path: Path, begins: array[int], start: int, stop: int) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Key and files (suffix, content) of the samples from `start` up to `stop`."""
    latest, number = None, start
    files: list[tuple[str, bytes]] = []
    with tarfile.open(path, tarinfo=_Header) as tar:
        _go_to(tar, begins[start])
        for key, suffix, member in _members(tar):
            if latest is not None and key != latest:
                yield latest, files
                number, files = number + 1, []
                if number >= stop:
                    return
            latest = key
            # Read as they come: in a compressed tar, going back means beginning anew.
            if suffix in PICTURES or suffix in _TEXTS:
                content = tar.extractfile(member)
                assert content is not None  # it is a regular file
                files.append((suffix, content.read()))
            elif suffix.rpartition(".")[2] in PICTURES:
                files.append((suffix, b""))  # named, to be spoken of
    if latest is not None:
        yield latest, files


def _go_to(tar: tarfile.TarFile, offset: int) -> None:
    """Make the entry at `offset` the next; a compressed tar is read up to there."""
    if offset:
        tar.firstmember, tar.offset = None, offset  # type: ignore[attr-defined]


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Key, lower-case suffix and entry of every file that belongs to a sample."""
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # or it would keep all of them
        folder, slash, name = member.name.rpartition("/")
        stem, dot, suffix = name.partition(".")
        if member.isreg() and stem and dot and not _META.match(member.name):
            yield folder + slash + stem, suffix.lower(), member


def _item(where: str, files: list[tuple[str, bytes]], text_only: bool) -> Item:
    suffixes = [suffix for suffix, _ in files]
    pictures = [suffix for suffix in suffixes if suffix in PICTURES]
    unread = [suffix for suffix in suffixes if suffix not in PICTURES and suffix not in _TEXTS]
    if unread and not pictures:
        return Item(where, {}, f"its picture is called .{unread[0]}: only one that ends in .jpg, .png or such is read")
    if len(pictures) > 1 or not (pictures or text_only):
        named = f" ({', '.join(pictures)})" if pictures else ""
        return Item(where, {}, f"a sample has one picture, but this has {len(pictures)}{named}")
    if len(set(suffixes)) < len(suffixes):
        return Item(where, {}, f"two of the sample's files have the same name: {', '.join(suffixes)}")
    held = dict(files)
    try:
        fields: Any = json.loads(held.get("json", b"{}"))
        text = {"txt": held["txt"].decode("utf-8-sig")} if "txt" in held else {}
        label = {"label": held["cls"].decode("utf-8-sig").strip()} if "cls" in held else {}
    except (ValueError, RecursionError) as error:
        return Item(where, {}, f"its .json, .txt or .cls cannot be read: {error}")
    if not isinstance(fields, dict):
        return Item(where, {}, "its .json is no JSON object")
    fields = {**label, **fields}
    if pictures:
        fields.pop("images", None)
        fields["image"] = held[pictures[0]]
    return Item(where, {**fields, **text})
