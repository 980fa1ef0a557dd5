"""Prompt-lookup decoding (Saxena, 2023): what followed the last words before is drafted to follow them again.

Drafts are guesses. Whether they are right is for the model to say, which reads a whole draft in the time of
one token; nothing here changes an answer.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["PromptLookup"]

LONGEST = 3  # tokens of context that are looked up; shorter ones where that finds nothing


class PromptLookup:
    """An index of a growing text: each run of one to three tokens, and what came after it last.

    Args:
        ids: the text so far.
        never: tokens that no draft may hold, such as image placeholders.
    """

    def __init__(self, ids: Iterable[int], never: Iterable[int] = ()):
        self._never = frozenset(never)
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in ids:
            self.append(token)

    def append(self, token: int) -> None:
        """`token` follows the text."""
        end = len(self._ids)
        for length in range(1, min(LONGEST, end) + 1):
            self._after[tuple(self._ids[end - length : end])] = end
        self._ids.append(token)

    def draft(self, count: int) -> list[int]:
        """Up to `count` tokens that followed the longest known end of the text, the last time it stood somewhere."""
        for length in range(min(LONGEST, len(self._ids)), 0, -1):
            if (start := self._after.get(tuple(self._ids[-length:]))) is not None:
                return self._copied(start, count)
        return []

    def _copied(self, start: int, count: int) -> list[int]:
        found: list[int] = []
        # What is copied may run into what it writes: after "a b a b", the draft goes on "a b a b".
        while len(found) < count:
            place = start + len(found)
            token = self._ids[place] if place < len(self._ids) else found[place - len(self._ids)]
            if token in self._never:
                break
            found.append(token)
        return found
