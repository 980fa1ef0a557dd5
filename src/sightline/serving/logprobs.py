"""Tokens as clients read them: each token's text and bytes, and which of an answer's tokens belong to its text.

The bytes of an answer's tokens join to its text, where the tokenizer is byte-level; a stop text may have cut
the end off the last one. It knows no API's shape of them.
"""

from __future__ import annotations

import codecs
import functools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sightline.engine.request import Piece, Reply, TokenLogprob

__all__ = ["Said", "TokenStream", "Vocabulary", "clamped", "said_of"]

# GPT-2's alphabet: printable bytes are themselves, the others are counted from 256 on.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + n): byte for n, byte in enumerate(_OTHERS)}
_ONE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
# What OpenAI's API gives for the least likely tokens: JSON has no infinity.
_LEAST = -9999.0


def clamped(logprob: float) -> float:
    """A log probability that JSON can hold."""
    return max(logprob, _LEAST)


class Vocabulary:
    """What each token stands for.

    Args:
        processor: has `decode` and a `tokenizer` with a `tokenizers` backend.
        end_tokens: ids that end an answer.
    """

    def __init__(self, processor: Any, end_tokens: Iterable[int]):
        self._processor, self._tokenizer = processor, processor.tokenizer
        self.end_tokens = frozenset(end_tokens)
        self._added = self._tokenizer.added_tokens_decoder
        decoder = self._tokenizer.backend_tokenizer.decoder
        steps = json.loads(decoder.__getstate__()) if decoder is not None else {}
        listed = [step for step in steps.get("decoders", [steps]) if step]
        kinds = {step["type"] for step in listed}
        # Of a text's first characters, how many spaces are not said: SentencePiece writes one before the first word.
        self.stripped = sum(step["start"] for step in listed if step["type"] == "Strip" and step["content"] == " ")
        self._read = _byte_level if "ByteLevel" in kinds else _with_fallback if "ByteFallback" in kinds else None
        # Of the instance, not of all of them: an app that is gone must not be kept by a cache of the class.
        self.bytes_of = functools.lru_cache(4096)(self._bytes_of)

    def _bytes_of(self, token: int) -> bytes:
        """The UTF-8 that `token` puts into a text, perhaps a part of a character. A control token puts nothing."""
        if token in self._added or self._read is None:
            return self._processor.decode([token], skip_special_tokens=True).encode()
        return self._read(self._tokenizer.convert_ids_to_tokens(token) or "")

    def text_of(self, token: int) -> str:
        """What to show: the text, with an escape for each byte that is no whole character, or a control token's name.

        No two tokens of a byte-level vocabulary look the same.
        """
        text = self.bytes_of(token).decode(errors="backslashreplace")
        return text or self._tokenizer.convert_ids_to_tokens(token) or ""


def _byte_level(token: str) -> bytes:
    return bytes(_BYTES[character] for character in token)


def _with_fallback(token: str) -> bytes:
    """SentencePiece's way: characters, a mark for spaces, and bytes by their number where there is no such token."""
    if match := _ONE_BYTE.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("▁", " ").encode()


class Said(NamedTuple):
    """A token of an answer's text, and at which of its characters the token begins."""

    logprob: TokenLogprob
    offset: int


class TokenStream:
    """The tokens of one answer, each told once some of its text is.

    What ends an answer is not part of it: neither the end token nor tokens that hold a stop text alone are told.
    """

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0  # whole ones, of all tokens so far
        self._stripped = vocabulary.stripped  # spaces that are still left out
        self._length = 0  # of the text so far
        self._held: list[Said] = []

    def push(self, piece: Piece) -> list[Said]:
        """The tokens that are certain now to be part of the text."""
        self._length += len(piece.text)
        for logprob in piece.logprobs:
            self._held.append(Said(logprob, self._characters))
            self._characters += self._said(self._decoder.decode(self._vocabulary.bytes_of(logprob.token)))
        count = sum(said.offset < self._length for said in self._held)
        told, self._held = self._held[:count], self._held[count:]
        return told

    def _said(self, text: str) -> int:
        """How many characters of a token's `text` the answer has."""
        left_out = min(self._stripped, len(text) - len(text.lstrip(" ")))
        self._stripped = 0 if len(text) > left_out else self._stripped - left_out
        return len(text) - left_out

    def finish(self, reply: Reply) -> list[Said]:
        """What is left once the answer is over: tokens without a text, unless a stop text ended it."""
        ended = bool(reply.tokens) and reply.tokens[-1] in self._vocabulary.end_tokens
        if reply.finish_reason == "stop" and not ended:
            return []
        return [said for said in self._held if said.logprob.token not in self._vocabulary.end_tokens]


def said_of(reply: Reply, vocabulary: Vocabulary) -> Sequence[Said]:
    """The tokens of a whole answer."""
    stream = TokenStream(vocabulary)
    return stream.push(Piece(reply.text, reply.logprobs)) + stream.finish(reply)
