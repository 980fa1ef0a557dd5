"""Many names in a few bytes each: `Names`, a sequence of strings as one stretch of bytes and where each begins.

A list's strings are objects, whose reference counts a process writes to when it looks at them: every forked worker of a
DataLoader would in time hold a copy of its own. It does not know what the names are of.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

__all__ = ["Names"]


class Names(Sequence[str]):
    """Strings by number, in the order in which they were given. File names that are no UTF-8 come back as they were.

    >>> list(Names(["cat/1.png", "Ente/2.png"]))
    ['cat/1.png', 'Ente/2.png']
    """

    def __init__(self, names: Iterable[str] = ()):
        held, self._ends = bytearray(), array("q")
        for name in names:
            held += name.encode(errors="surrogateescape")
            self._ends.append(len(held))
        self._held = bytes(held)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        start = self._ends[number - 1] if number else 0
        return self._held[start : self._ends[number]].decode(errors="surrogateescape")
