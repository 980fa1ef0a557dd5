"""The samples of WebDataset shards: `ShardRows`.

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
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from sightline.labelling.rows import PICTURES, Item

__all__ = ["ShardRows"]

_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
_META = re.compile("__[^/]*__/")  # what tells of the shard rather than of a sample
_TEXTS = frozenset({"txt", "json"})


class ShardRows:
    """The samples of all `paths`, one shard after the other.

    A sample's fields are those of its `.json` (which may have a prompt), its `.txt` as `txt`, its picture as `image`.

    Raises:
        ValueError: a shard is no tar, or is cut short; or all are empty.
    """

    options = frozenset({"prompt_field"})

    def __init__(self, paths: list[Path], folder: Path):
        self.folder, self._paths = folder, paths
        self._starts = [0, *accumulate(map(_count, paths))]
        if not len(self):
            raise ValueError(f"{paths[0] if len(paths) == 1 else folder} holds no samples")

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> Iterator[Item]:
        stop = min(stop, len(self))
        while start < stop:
            shard = bisect.bisect_right(self._starts, start) - 1
            end = min(stop, self._starts[shard + 1])
            path = self._paths[shard]
            name = path.relative_to(self.folder).as_posix()
            for key, files in _samples(path, start - self._starts[shard], end - self._starts[shard]):
                yield _item(f"{name}, {key}", files)
            start = end


def _count(path: Path) -> int:
    count, latest = 0, None
    try:
        with tarfile.open(path) as tar:
            for key, _, _ in _members(tar):
                count, latest = count + (key != latest), key
    except _DAMAGED as error:
        raise ValueError(f"{path} is damaged or cut short, after {count} samples: {error}") from None
    return count


def _samples(path: Path, start: int, stop: int) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Key and files (suffix, content) of the samples from `start` up to `stop`."""
    number, latest = -1, None
    files: list[tuple[str, bytes]] = []
    with tarfile.open(path) as tar:
        for key, suffix, member in _members(tar):
            if key != latest:
                if latest is not None and number >= start:
                    yield latest, files
                number, latest, files = number + 1, key, []
                if number >= stop:
                    return
            # Read as they come: in a compressed tar, going back means beginning anew.
            if number >= start and (suffix in PICTURES or suffix in _TEXTS):
                content = tar.extractfile(member)
                assert content is not None  # it is a regular file
                files.append((suffix, content.read()))
    if latest is not None and number >= start:
        yield latest, files


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Key, lower-case suffix and entry of every file that belongs to a sample."""
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # or it would keep all of them
        folder, slash, name = member.name.rpartition("/")
        stem, dot, suffix = name.partition(".")
        if member.isreg() and stem and dot and not _META.match(member.name):
            yield folder + slash + stem, suffix.lower(), member


def _item(where: str, files: list[tuple[str, bytes]]) -> Item:
    suffixes = [suffix for suffix, _ in files]
    pictures = [suffix for suffix in suffixes if suffix in PICTURES]
    if len(pictures) != 1:
        named = f" ({', '.join(pictures)})" if pictures else ""
        return Item(where, {}, f"a sample has one picture, but this has {len(pictures)}{named}")
    if len(set(suffixes)) < len(suffixes):
        return Item(where, {}, f"two of the sample's files have the same name: {', '.join(suffixes)}")
    held = dict(files)
    try:
        fields: Any = json.loads(held.get("json", b"{}"))
        text = {"txt": held["txt"].decode()} if "txt" in held else {}
    except (ValueError, RecursionError) as error:
        return Item(where, {}, f"its .json or .txt cannot be read: {error}")
    if not isinstance(fields, dict):
        return Item(where, {}, "its .json is no JSON object")
    fields.pop("images", None)
    return Item(where, {**fields, **text, "image": held[pictures[0]]})
