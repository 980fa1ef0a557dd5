"""Uploaded pictures: in memory, each its uploader's alone, bounded in number and bytes, and gone after a while.

An id is all that leads to a file, with the key that uploaded it; its name is told back and never used. Whether the
bytes are a picture has been found out before they come here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.serving.errors import APIError
from sightline.serving.settings import Limits

if TYPE_CHECKING:
    from sightline.serving.security import Identity

__all__ = ["File", "FileStore"]


@dataclass(frozen=True)
class File:
    """An upload. Times are seconds since 1970."""

    id: str
    name: str
    data: bytes
    purpose: str
    created_at: int
    expires_at: float


class FileStore:
    """The files of all keys, each key's apart from the others'. Used from one thread.

    Args:
        clock: tells the seconds since 1970.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.time):
        self._limits, self._clock = limits, clock
        self._files: dict[bytes, dict[str, File]] = {}  # by owner, then by id; the oldest first

    def check(self, identity: Identity, size: int) -> None:
        """Whether who asks may put `size` more bytes here.

        Raises:
            APIError: the file is too large (413), or the files of this key are too many or too large together (400).
        """
        limits, files = self._limits, self.list(identity)
        if size > limits.file_bytes:
            text = f"the file is larger than the {limits.file_bytes} bytes that this server takes"
            raise APIError(text, status=413, param="file", code="file_too_large")
        if len(files) >= limits.files:
            text = f"there are {len(files)} files of this key, as many as it may have: delete some"
            raise APIError(text, param="file", code="too_many_files")
        if sum(len(file.data) for file in files) + size > limits.files_bytes:
            text = f"the files of this key would be more than {limits.files_bytes} bytes together: delete some"
            raise APIError(text, param="file", code="too_many_files")

    def put(self, identity: Identity, name: str, data: bytes, purpose: str, seconds: float | None = None) -> File:
        """Keep `data` for `seconds`, or as long as any file. Raises as `check`."""
        self.check(identity, len(data))
        now = self._clock()
        lasts = self._limits.file_seconds if seconds is None else seconds
        file = File(f"file-{secrets.token_hex(16)}", name, data, purpose, int(now), now + lasts)
        self._files.setdefault(identity.salt, {})[file.id] = file
        return file

    def get(self, identity: Identity, file_id: str, param: str = "file_id") -> File:
        """A file of who asks.

        Raises:
            APIError: 404, there is no such file, or it is another key's: nobody learns which.
        """
        self._expire()
        file = self._files.get(identity.salt, {}).get(file_id)
        if file is None:
            text = "there is no such file: it was never uploaded, has expired or was deleted"
            raise APIError(text, status=404, param=param, code="file_not_found")
        return file

    def delete(self, identity: Identity, file_id: str) -> None:
        """Forget a file. Raises as `get`."""
        file = self.get(identity, file_id)
        del self._files[identity.salt][file.id]

    def list(self, identity: Identity) -> list[File]:
        """The files of who asks, the oldest first."""
        self._expire()
        return list(self._files.get(identity.salt, {}).values())

    def _expire(self) -> None:
        """Everyone's, so that nothing stays because its owner does not come back."""
        now = self._clock()
        for owner, files in list(self._files.items()):
            left = {key: file for key, file in files.items() if file.expires_at > now}
            self._files.pop(owner)
            if left:
                self._files[owner] = left
