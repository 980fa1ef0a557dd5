"""Tokens of answers: their bytes, where they begin, and which of them belong to the text."""

from types import SimpleNamespace

import pytest

from sightline.engine.request import Piece, Reply, Timings, TokenLogprob, Usage
from sightline.serving.logprobs import TokenStream, Vocabulary, clamped, said_of
from sightline.tokenizer import AT_TOKEN, CONTROL_TOKENS


@pytest.fixture(scope="module")
def vocabulary(tiny):
    model, processor = tiny
    return Vocabulary(processor, [model.config.eos_token_id])


@pytest.fixture(scope="module")
def ids_of(tiny):
    return tiny[1].encode_text


def piece(text, ids):
    return Piece(text, tuple(TokenLogprob(token, -1.0) for token in ids))


def reply(text, ids, reason="length"):
    return Reply(text, tuple(ids), reason, Usage(), Timings(), piece(text, ids).logprobs)


@pytest.mark.parametrize("text", ["A red circle", "左上角有什么？", "a@b", "🦆 ", "e\u0301\x00\n", "�"])
def test_bytes_of_the_tokens_of_a_text_join_to_it(vocabulary, ids_of, text):
    assert b"".join(map(vocabulary.bytes_of, ids_of(text))) == text.encode()


def test_every_byte_has_a_token_and_no_two_tokens_look_alike(vocabulary, tiny):
    tokens = range(len(tiny[1].tokenizer))
    singles = {vocabulary.bytes_of(token) for token in tokens}
    assert {bytes([byte]) for byte in range(256)} <= singles
    names = [vocabulary.text_of(token) for token in tokens]
    assert [name for name in set(names) if names.count(name) > 1] == ["@"]  # the placeholder, which is never said


def test_a_control_token_has_a_name_and_no_bytes(vocabulary, tiny):
    ids = tiny[1].tokenizer.convert_tokens_to_ids
    for name in CONTROL_TOKENS:
        assert (vocabulary.bytes_of(ids(name)), vocabulary.text_of(ids(name))) == (b"", name)
    assert vocabulary.bytes_of(ids(AT_TOKEN)) == b"@"


def test_sentencepiece_writes_spaces_and_bytes_in_its_own_way():
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    vocab = {"<unk>": 0, "▁duck": 1, "<0xE9>": 2, "<0xB8>": 3, "<0xAD>": 4, "a▁": 5}
    backend = Tokenizer(BPE(vocab=vocab, merges=[], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    found = Vocabulary(SimpleNamespace(tokenizer=tokenizer, decode=tokenizer.decode), [0])
    assert b"".join(map(found.bytes_of, [5, 1, 2, 3, 4])).decode() == "a  duck鸭"
    assert [found.text_of(token) for token in (1, 2)] == [" duck", r"\xe9"]
    assert found.bytes_of(0) == b""


def test_the_space_that_sentencepiece_writes_first_and_does_not_say_moves_no_token():
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(BPE(vocab={"<unk>": 0, "▁A": 1, "▁duck": 2, ".": 3, "▁": 4}, merges=[], byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    found = Vocabulary(SimpleNamespace(tokenizer=tokenizer, decode=tokenizer.decode), [0])
    for ids, text, offsets in (([1, 2, 3], "A duck.", [0, 1, 6]), ([4, 1], " A", [0, 0]), ([3, 1], ". A", [0, 1])):
        assert tokenizer.decode(ids) == text
        assert [said.offset for said in said_of(reply(text, ids), found)] == offsets
    stream = TokenStream(found)
    assert len(stream.push(piece("A", [1]))) == 1  # and not a piece late


def test_tokens_are_told_where_their_character_begins(vocabulary, ids_of):
    text = "é🦆a"
    ids = ids_of(text)
    assert len(ids) > 3  # of a character of several tokens, all begin where it does
    offsets = [said.offset for said in said_of(reply(text, ids), vocabulary)]
    assert offsets == [0] * len(ids_of("é")) + [1] * len(ids_of("🦆")) + [2]


def test_a_token_is_told_with_the_first_of_its_text_and_never_before(vocabulary, ids_of):
    duck = ids_of("🦆")
    stream = TokenStream(vocabulary)
    assert stream.push(piece("", duck[:2])) == []
    assert [said.logprob.token for said in stream.push(piece("🦆", duck[2:]))] == duck


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3]])
def test_tokens_of_a_stop_text_are_not_told(vocabulary, ids_of, cuts):
    ids = [*ids_of("ab"), *ids_of("XY")]
    assert len(ids) == 4
    ended = reply("ab", ids, "stop")
    stream, told = TokenStream(vocabulary), []
    for start, end in zip([0, *cuts], [*cuts, 4], strict=True):
        told += stream.push(piece("ab"[start:end], ids[start:end]))
    told += stream.finish(ended)
    assert [said.logprob.token for said in told] == ids[:2]
    assert told == list(said_of(ended, vocabulary))


def test_what_breaks_off_is_told_at_the_end_and_the_end_token_never(vocabulary, ids_of, tiny):
    end = tiny[0].config.eos_token_id
    part = ids_of("🦆")[:2]
    assert [said.logprob.token for said in said_of(reply("a�", [*ids_of("a"), *part]), vocabulary)] == [
        *ids_of("a"),
        *part,
    ]
    control = tiny[1].tokenizer.convert_tokens_to_ids("<|reserved_0|>")
    told = said_of(reply("a", [*ids_of("a"), control, end], "stop"), vocabulary)
    assert [said.logprob.token for said in told] == [*ids_of("a"), control]


def test_json_gets_no_infinity():
    assert clamped(float("-inf")) == -9999.0
    assert clamped(-0.5) == -0.5
