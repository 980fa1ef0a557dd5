"""Features of pictures on disk: one file a picture, below a folder for the tower that computed them.

An entry says whose it is and has a checksum; one that is damaged, or another's, is as good as none. The whole cache is
bounded in bytes. It knows neither pictures nor models: keys and towers come as digests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sightline.whole_file import LEFTOVER

__all__ = ["FeatureCache"]

ABANDONED = 3600  # seconds after which what was never finished is no other run's to finish
_NAME = "features"


class FeatureCache:
    """The features that the tower `tower` (a digest) gives, each of `shape`, in `folder`, of at most `limit` bytes.

    Where the bound is reached, features of other towers go, those that were used the longest ago first; then nothing
    more is kept, as each epoch asks for all pictures again, and to put one in another's place would gain nothing. What
    cannot be written is not kept either.
    """

    def __init__(self, folder: Path, tower: str, shape: tuple[int, ...], limit: int):
        self.folder, self.tower, self.shape, self.limit = folder, tower, shape, limit
        self.used, self.is_full = 0, False
        try:
            (folder / tower).mkdir(parents=True, exist_ok=True)
            os.utime(folder / tower)
            self.used = sum(size for path, size in _files(folder) if not _is_abandoned(path))
        except OSError:
            self.is_full = True

    def get(self, key: bytes) -> Float[Tensor, "patches vision"] | None:
        """The features of a picture; None where there are none, or none that can be trusted."""
        path = self._path(key)
        try:
            with safe_open(path, "pt") as file:
                said, features = file.metadata() or {}, file.get_tensor(_NAME)
            if said == self._says(key, features) and tuple(features.shape) == self.shape:
                return features
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError):
            pass
        self._remove(path)
        return None

    def put(self, key: bytes, features: Float[Tensor, "patches vision"]) -> None:
        """Keep the features of a picture, if there is room. What is there already stays."""
        path = self._path(key)
        if self.is_full or path.exists():
            return
        features = features.detach().cpu().contiguous()
        content = save({_NAME: features}, self._says(key, features))
        beside = path.with_name(f"{LEFTOVER}{uuid.uuid4().hex}")
        try:
            if not self._make_room(len(content)):  # which another run may be making, too
                return
            path.parent.mkdir(exist_ok=True)
            beside.write_bytes(content)
            beside.replace(path)
            self.used += len(content)
        except OSError:
            self.is_full = True
            with suppress(OSError):
                beside.unlink()

    def _path(self, key: bytes) -> Path:
        name = key.hex()
        return self.folder / self.tower / name[:2] / f"{name}.safetensors"

    def _says(self, key: bytes, features: Tensor) -> dict[str, str]:
        content = features.contiguous().reshape(-1).view(torch.uint8).numpy().data
        return {"picture": key.hex(), "tower": self.tower, "sha256": hashlib.sha256(content).hexdigest()}

    def _make_room(self, size: int) -> bool:
        while self.used + size > self.limit:
            others = [one for one in self.folder.iterdir() if one.is_dir() and one.name != self.tower]
            if not others:
                self.is_full = True
                return False
            oldest = min(others, key=lambda one: one.stat().st_mtime)
            self.used -= sum(size for _, size in _files(oldest))
            shutil.rmtree(oldest, ignore_errors=True)
            if oldest.exists():
                self.is_full = True
                return False
        return True

    def _remove(self, path: Path) -> None:
        with suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            self.used -= size


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another run may remove it meanwhile
            if path.is_file():
                yield path, path.stat().st_size


def _is_abandoned(path: Path) -> bool:
    """Whether a killed run left this unfinished; then it is removed."""
    if not path.name.startswith(LEFTOVER) or time.time() - path.stat().st_mtime < ABANDONED:
        return False
    path.unlink(missing_ok=True)
    return True
