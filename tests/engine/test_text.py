"""Text as it comes: pieces join to the whole, and no part of a stop text is ever shown."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from sightline.engine.text import TextStream


def pieces_of(processor, text, stop=()):
    tokens = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    stream, pieces = TextStream(processor, stop), []
    for token in tokens:
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return [*pieces, stream.finish()], stream


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="@"), max_size=40))
def test_pieces_join_to_the_text(processor, text):
    pieces, stream = pieces_of(processor, text)
    assert "".join(pieces) == stream.text == text


def test_a_character_of_several_tokens_comes_whole(processor):
    pieces, _ = pieces_of(processor, "一🦆")
    assert all("�" not in piece for piece in pieces)


def test_bytes_that_are_no_character_come_at_the_end_as_decoding_gives_them(processor):
    first, *_ = processor.tokenizer("🦆", add_special_tokens=False)["input_ids"]
    stream = TextStream(processor)
    assert stream.push(first) == ""
    assert stream.finish() == processor.decode([first])


def test_a_byte_that_fits_none_costs_no_answer():
    # As Llama 2's: what is no token falls back to its bytes, and a run of these is decoded as one.
    vocab = {"▁a": 0, "▁b": 1} | {f"<0x{byte:02X}>": 2 + byte for byte in range(256)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    llama = SimpleNamespace(
        tokenizer=SimpleNamespace(backend_tokenizer=backend),
        decode=lambda tokens, skip_special_tokens: backend.decode(tokens, skip_special_tokens=skip_special_tokens),
    )
    stream = TextStream(llama)
    tokens = [0, *(2 + byte for byte in "叫".encode()), 2 + 0xE5, 1, 0]
    pieces = [*(stream.push(token) for token in tokens), stream.finish()]
    assert "".join(pieces) == stream.text
    assert stream.text.startswith("a叫")
    assert stream.text.endswith(" b a")


def test_the_end_token_is_no_text(processor):
    stream = TextStream(processor)
    assert stream.push(processor.tokenizer.eos_token_id) == stream.finish() == ""


@pytest.mark.parametrize(
    ("stop", "shown"), [(("duck",), "a red "), (("d d",), "a re"), (("x", "red"), "a "), (("ducks",), "a red duck.")]
)
def test_a_stop_text_and_what_follows_are_not_shown(processor, stop, shown):
    pieces, stream = pieces_of(processor, "a red duck.", stop)
    assert "".join(pieces) == stream.text == shown
    assert stream.stopped == (shown != "a red duck.")


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=2))
def test_what_is_shown_is_the_text_before_the_first_stop_text(processor, text, stop):
    pieces, _ = pieces_of(processor, text, stop)
    # Whichever is complete first ends the text, at its start.
    ends = [n for n in range(len(text) + 1) if any(text[:n].endswith(one) for one in stop)]
    if ends:
        seen = text[: ends[0]]
        assert "".join(pieces) == seen[: min(seen.find(one) for one in stop if one in seen)]
    else:
        assert "".join(pieces) == text
