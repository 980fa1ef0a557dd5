"""Tokens become the words that a reader sees, whatever the tokenizer cut where."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.explain.words import words_of


def words(*pieces):
    """Texts of the words, and how many tokens each has, of tokens that are bytes or text."""
    raw = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
    text, spans = words_of(range(len(raw)), lambda ids: b"".join(raw[i] for i in ids).decode(errors="replace"))
    return [(text[span.start : span.end], span.last - span.first) for span in spans]


DUCK = "鸭".encode()


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["A", " du", "ck", "."], [("A", 1), ("duck", 2), (".", 1)]),
        (["don", "'t", " well", "-", "known"], [("don't", 2), ("well-known", 3)]),
        (["3", ".", "5", " m", "."], [("3.5", 3), ("m", 1), (".", 1)]),
        (["हि", "न्दी", "।"], [("हिन्दी", 2), ("।", 1)]),
        (["cafe", "\u0301", "!"], [("cafe\u0301", 2), ("!", 1)]),
        (["红", "色", "。"], [("红", 1), ("色", 1), ("。", 1)]),
        (["一只", "鸭子", "。"], [("一只", 1), ("鸭子", 1), ("。", 1)]),
        ([DUCK[:1], DUCK[1:2], DUCK[2:]], [("鸭", 3)]),
        (["一" + "红", "色"], [("一红", 1), ("色", 1)]),
        (["a", "\n\n", "b"], [("a", 1), ("b", 1)]),
        (["a, b", "c"], [("a, bc", 2)]),
        (["x", DUCK[:2]], [("x", 1), ("\ufffd", 1)]),
        ([], []),
        ([" \n"], []),
    ],
)
def test_tokens_are_joined_to_words(tokens, expected):
    assert words(*tokens) == expected


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_every_letter_is_in_one_word_and_every_word_has_its_tokens(tiny_tokenizer, text):
    ids = tiny_tokenizer.encode(text, add_special_tokens=False)
    read, spans = words_of(ids, tiny_tokenizer.decode)
    edges = [0, *(edge for span in spans for edge in (span.start, span.end)), len(read)]
    assert not "".join(read[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)).strip()
    for one, after in pairwise(spans):
        assert one.first < one.last <= after.first
        assert one.start < one.end <= after.start
    for span in spans:
        shown = read[span.start : span.end]
        assert shown in tiny_tokenizer.decode(ids[: span.last])
        assert shown.strip() == shown != ""


@pytest.fixture(scope="module")
def tiny_tokenizer(wide):
    return wide[1].tokenizer
