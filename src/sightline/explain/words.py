"""From tokens to the words that a reader sees: `words_of`.

A token may be half a Chinese character or a whole phrase of several. It knows no model and no pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Span", "words_of"]

# Scripts that write no spaces between words: each character is one, as far as tokens allow.
_ALONE = r"\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Accents, vowel signs and points, no letters by themselves: of Latin, Hebrew, Arabic, India's scripts and Thai.
_MARKS = (
    r"\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f"
    r"\u0900-\u0963\u0966-\u096f\u0971-\u0df3\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
)
_LETTERS = rf"(?:(?![{_ALONE}])[\w{_MARKS}])+"
_WORD = re.compile(rf"[{_ALONE}]|{_LETTERS}(?:['’.,-]{_LETTERS})*|[^\w\s{_MARKS}]+")
_CUT = "\ufffd"  # what half a character decodes to


@dataclass(frozen=True)
class Span:
    """A word: characters `start` to `end` of the answer, written by its tokens `first` to `last` (exclusive)."""

    start: int
    end: int
    first: int
    last: int


def words_of(token_ids: Sequence[int], decode: Callable[[list[int]], str]) -> tuple[str, list[Span]]:
    """The text of `token_ids`, and its words: letters up to a space, one Chinese character, or punctuation.

    Words that share a token are one word. Tokens of nothing but whitespace belong to none.

    >>> words_of([0, 1, 2, 3], lambda ids: "".join(("A", " du", "ck", ".")[i] for i in ids))
    ("A duck.", [Span(0, 1, 0, 1), Span(2, 6, 1, 3), Span(6, 7, 3, 4)])
    """
    text, pieces = _pieces(token_ids, decode)
    spans: list[Span] = []
    rest = iter(pieces)
    piece = next(rest, None)
    for match in _WORD.finditer(text):
        while piece and piece.end <= match.start():
            piece = next(rest, None)
        assert piece is not None
        first = piece.first
        while piece.end < match.end():
            piece = next(rest)
        if spans and first < spans[-1].last:
            earlier = spans.pop()
            spans.append(Span(earlier.start, match.end(), earlier.first, piece.last))
        else:
            spans.append(Span(match.start(), match.end(), first, piece.last))
    return text, spans


def _pieces(token_ids: Sequence[int], decode: Callable[[list[int]], str]) -> tuple[str, list[Span]]:
    """The text, cut at the tokens that end on a whole character. A token alone may decode otherwise than in place."""
    text, pieces, first = "", [], 0
    for last in range(1, len(token_ids) + 1):
        longer = decode(list(token_ids[:last]))
        if longer.endswith(_CUT) and last < len(token_ids):
            continue
        pieces.append(Span(len(text), len(longer), first, last))
        text, first = longer, last
    return text, pieces
