"""From tokens to text as they come: whole characters only, and never a part of a stop text.

It knows a tokenizer, not a model. The pieces of an answer join to what decoding all of its tokens at once gives, unless
that would take back what has been handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

__all__ = ["TextStream"]


class TextStream:
    """The text of one answer, token by token.

    Args:
        processor: has `decode` and a `tokenizer` with a `tokenizers` backend.
        stop: texts that end the answer and are not part of it.
    """

    def __init__(self, processor: Any, stop: Sequence[str] = ()):
        self._decode = processor.decode
        self._backend = processor.tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        self._decoded = ""
        self._given = 0  # characters already handed out
        self.stopped = False

    @property
    def text(self) -> str:
        """What has been handed out so far."""
        return self._decoded[: self._given]

    def push(self, token: int) -> str:
        """The text that is certain now that `token` follows; `stopped` tells whether a stop text has been met."""
        self._tokens.append(token)
        self._decoded += self._step(token)
        if not self._stop:
            return self._hand_out(len(self._decoded))
        found = [place for text in self._stop if (place := self._decoded.find(text)) >= 0]
        if found:
            self.stopped = True
            self._decoded = self._decoded[: min(found)]
            return self._hand_out(len(self._decoded))
        return self._hand_out(len(self._decoded) - self._withheld())

    def finish(self) -> str:
        """What was held back: the start of a stop text that did not come, bytes that are no whole character."""
        if not self.stopped:
            whole = self._decode(self._tokens, skip_special_tokens=True)
            self._decoded = whole if whole.startswith(self.text) else self._decoded
        return self._hand_out(len(self._decoded))

    def _step(self, token: int) -> str:
        try:
            return self._stream.step(self._backend, token) or ""
        except Exception as error:  # the library's own class
            if not str(error).startswith("Invalid prefix"):
                raise
        # A tokenizer that falls back to bytes decodes a run of them as one: a byte that fits none unmakes characters
        # that were whole. What has been handed out stays.
        self._stream = DecodeStream(ids=self._tokens[-2:-1], skip_special_tokens=True)
        return self._stream.step(self._backend, token) or ""

    def _withheld(self) -> int:
        """How many characters at the end may yet become a stop text."""
        longest = max(map(len, self._stop)) - 1
        for length in range(min(longest, len(self._decoded)), 0, -1):
            tail = self._decoded[-length:]
            if any(text.startswith(tail) for text in self._stop):
                return length
        return 0

    def _hand_out(self, end: int) -> str:
        piece = self._decoded[self._given : end]
        self._given = max(self._given, end)
        return piece
