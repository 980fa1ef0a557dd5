"""What can be wrong with a row, by kind, and where the limits are: `KINDS`, `Problem`, `Limits`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Limits", "Problem"]

# Whether a row of this kind is bad: training would stop at it, or learn from it what nobody wants.
KINDS = {
    "wrong format": True,
    "pictures and places": True,
    "missing picture": True,
    "unreadable picture": True,
    "tiny picture": True,
    "role order": True,
    "empty question": True,
    "empty answer": True,
    "too long": True,
    "not carried": True,
    "long answer": False,
    "narrow picture": False,
    "flat picture": False,
    "poorly carried": False,
    "broken text": False,
    "tag as text": False,
    "repeated row": False,
    "contradiction": False,
    "near copy": False,
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a row; `text` follows the row's name and a colon."""

    kind: str
    text: str

    @property
    def is_bad(self) -> bool:
        return KINDS[self.kind]


@dataclass(frozen=True)
class Limits:
    """What a row may be.

    Args:
        tokens: of a conversation, as the model reads it; None: any number.
        answer: tokens that an answer may have, or it is remarked upon; None: half of `tokens`.
        side: pixels that a picture's shorter side has at least.
        aspect: how many times as long as the shorter side a picture may be before it is remarked upon.
        span: values of 255 that a picture's pixels span at least, or it is remarked upon.
        bytes_share: of an answer's tokens that are only pieces of characters, from where on it is remarked upon.
    """

    tokens: int | None = None
    answer: int | None = None
    side: int = 16
    aspect: float = 8.0
    span: int = 16
    bytes_share: float = 0.5

    @property
    def answer_tokens(self) -> int | None:
        return self.answer if self.answer is not None or self.tokens is None else self.tokens // 2
