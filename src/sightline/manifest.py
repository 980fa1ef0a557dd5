"""A folder's manifest: the size and SHA-256 of each of its files, so that damage is found before anything is loaded.

It knows neither checkpoints nor models; `facts` are its owner's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["MANIFEST", "check_files", "check_weights", "read_manifest", "write_manifest"]

Read = TypeVar("Read")

MANIFEST = "manifest.json"
_DIGEST = "manifest_sha256"


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write down `facts`, and what every file that is in `folder` holds."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): _fingerprint(path) for path in paths}
    (folder / MANIFEST).write_text(_sealed({**facts, "files": files}), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The facts, and `files`. Raises ValueError where it is missing or is not as it was written."""
    path = folder / MANIFEST
    written = _readable(path, Path.read_bytes)
    try:
        fields = json.loads(written)
        del fields[_DIGEST]
        whole = _sealed(fields).encode() == written
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged: it is not as it was written")
    return fields


def check_files(folder: Path, suffix: str = "") -> None:
    """Check the files of `folder` that end with `suffix` against its manifest.

    Raises:
        ValueError: naming the first file that is missing or damaged.
    """
    for name, written in read_manifest(folder)["files"].items():
        path = folder / name
        if not name.endswith(suffix):
            continue
        found = _readable(path, _fingerprint)
        if found["size"] != written["size"]:
            raise ValueError(f"{path} is damaged: it holds {found['size']} bytes, and {written['size']} were written")
        if found != written:
            raise ValueError(f"{path} is damaged: its SHA-256 is not that of what was written")


def check_weights(folder: Path) -> None:
    """As `check_files`, of safetensors alone: templates and settings may be changed by hand. A folder without a
    manifest of ours has nothing to be checked against.

    Raises:
        ValueError: a file is missing or damaged, with what to do.
    """
    path = folder / MANIFEST
    if not path.is_file() or f'"{_DIGEST}"'.encode() not in path.read_bytes():
        return
    try:
        check_files(folder, ".safetensors")
    except ValueError as error:
        raise ValueError(f"{error}; copy it again, or delete {path} if it was changed on purpose") from error


def _sealed(fields: dict[str, Any]) -> str:
    """The manifest's text, with a digest of itself: a flipped bit in it is found like any other."""
    digest = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    return json.dumps(fields | {_DIGEST: digest}, indent=2)


def _readable(path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"size": file.tell(), "sha256": digest.hexdigest()}
