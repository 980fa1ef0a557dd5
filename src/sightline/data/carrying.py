"""How well a tokenizer carries a text: tokens a character, and the words that it spells out.

A language that a tokenizer has not learned comes as its bytes, one token each: nearly as many tokens as bytes, whatever
the script, where one that it knows takes a third as many or fewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from sightline.data.encoder import Encoder
from sightline.data.sample import Sample, answers_of, questions_of

__all__ = ["POOR", "Carried", "carried_words", "spelled_out"]

POOR = 0.5  # tokens a byte, from where on a text is badly carried
ENOUGH = 200  # bytes, before anything is said
LONGEST = 24  # bytes of a word; where none are set apart, as in Chinese, a sentence is no word
_LETTERS = 0.6  # of a text's characters; of one with fewer, figures and signs decide
_PIECES, _TIMES = 3, 3  # tokens of a word and how often it occurs, from where on it is worth one of its own


class Carried:
    """Adds up texts and their tokens. Texts of mostly figures or signs, which no tokenizer joins, do not count."""

    def __init__(self) -> None:
        self.tokens = self.characters = self.bytes = 0

    def add(self, text: str, tokens: int) -> None:
        """A text, and how many tokens it has."""
        if sum(map(str.isalpha, text)) >= _LETTERS * len(text.replace(" ", "")) > 0:
            self.tokens += tokens
            self.characters += len(text)
            self.bytes += len(text.encode(errors="replace"))

    def __iadd__(self, other: Carried) -> Carried:
        self.tokens += other.tokens
        self.characters += other.characters
        self.bytes += other.bytes
        return self

    @property
    def per_character(self) -> float:
        return self.tokens / self.characters if self.characters else 0.0

    @property
    def is_poor(self) -> bool:
        return self.bytes >= ENOUGH and self.tokens > POOR * self.bytes

    def __str__(self) -> str:
        """The warning; empty where there is none to give."""
        if not self.is_poor:
            return ""
        return (
            f"the tokenizer carries this language badly: {self.per_character:.2f} tokens a character, "
            f"{self.tokens / self.bytes:.2f} a byte, where {POOR:g} is the most of one that it knows: tune with "
            "model.new_words, or take a language model that knows it"
        )


def carried_words(sample: Sample, encoder: Encoder) -> Carried:
    """What is said in a sample, as the encoder's tokenizer carries it; of texts that it cannot encode, nothing."""
    carried = Carried()
    for text in (*questions_of(sample), *answers_of(sample)):
        with suppress(ValueError, UnicodeError):
            carried.add(text, len(encoder.encode_text(text)))
    return carried


def spelled_out(texts: Iterable[str], tokenizer: Any, count: int) -> list[str]:
    """The `count` words that cost the most tokens more than one, as the tokenizer's pre-tokenizer gives them.

    Args:
        tokenizer: a fast tokenizer of transformers, byte-level BPE.
    """
    backend = tokenizer.backend_tokenizer
    times: Counter[str] = Counter()
    for text in texts:
        plain = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
        times.update(
            piece for piece, (start, end) in backend.pre_tokenizer.pre_tokenize_str(plain) if _is_word(plain[start:end])
        )
    costs = {word: len(backend.model.tokenize(word)) for word, often in times.items() if often >= _TIMES}
    dear = [word for word, cost in costs.items() if cost >= _PIECES]
    return sorted(dear, key=lambda word: (-times[word] * (costs[word] - 1), word))[:count]


def _is_word(text: str) -> bool:
    return text.strip().isalpha() and len(text.encode()) <= LONGEST
