"""A vocabulary that has grown carries new words in one token each, and everything else as before."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sightline
from sightline.data.carrying import spelled_out
from sightline.interop.vocabulary import grown, with_words

TEXTS = ["Der Würfel liegt auf der Wiese.", "Die Wiesen sind größer als ein Würfel und eine Wiese."] * 3


@pytest.fixture(scope="module")
def loaded():
    return sightline.load("sightline-tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def words(loaded):
    return spelled_out(TEXTS, loaded[1].tokenizer, 20)


@pytest.fixture(scope="module")
def larger(loaded, words):
    return grown(*loaded, words)


def test_each_new_word_is_one_token(loaded, words, larger):
    old, new = loaded[1].tokenizer, larger[1].tokenizer
    assert len(words) > 5
    for word in words:
        assert len(old.backend_tokenizer.model.tokenize(word)) > 2
        assert len(new.backend_tokenizer.model.tokenize(word)) == 1
    for text in TEXTS:
        assert len(new.encode(text)) < 0.7 * len(old.encode(text))
        assert larger[1].decode(larger[1].encode_text(text)) == text


def test_words_that_share_pieces_do_not_break_each_other(loaded):
    tokenizer = loaded[1].tokenizer
    words = ["qzxj", "jqzx", "zxjq", "qzxjq", "zx", "xqzxj"]
    for given_words in (words, words[::-1]):
        new, _ = with_words(tokenizer, given_words)
        assert [len(new.backend_tokenizer.model.tokenize(word)) for word in given_words] == [1] * len(words)


def test_what_holds_no_new_word_is_as_before(loaded, larger):
    asked = [{"role": "user", "content": [{"type": "text", "text": "Where is the red circle? 红色的圆在哪里？ a@b"}]}]
    answer = [{"role": "assistant", "content": [{"type": "text", "text": "At the top."}]}]
    before, after = (one.encode_for_training([(asked + answer, None)]) for one in (loaded[1], larger[1]))
    assert torch.equal(before["input_ids"], after["input_ids"])
    with torch.no_grad():
        logits = [one(**batch).logits for one, batch in ((loaded[0], before), (larger[0], after))]
    assert torch.allclose(logits[0], logits[1][..., : logits[0].shape[-1]], atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="Würfeligt sdnß Wiesqzx@<|im_end|>") | st.text(max_size=30))
def test_any_text_comes_back(loaded, larger, text):
    ids = larger[1].encode_text(text)
    assert larger[1].decode(ids, clean_up_tokenization_spaces=False) == (
        loaded[1].decode(loaded[1].encode_text(text), clean_up_tokenization_spaces=False)
    )
    assert larger[1].image_token_id not in ids


def test_a_new_token_begins_as_the_mean_of_its_pieces(loaded, words, larger):
    (model, processor), (new, fitted) = loaded, larger
    assert new.config.vocab_size == len(fitted.tokenizer) > model.config.vocab_size
    for word in words[:5]:
        (token,) = fitted.tokenizer.backend_tokenizer.model.tokenize(word)
        pieces = [one.id for one in processor.tokenizer.backend_tokenizer.model.tokenize(word)]
        mean = model.model.embed_tokens.weight[pieces].mean(0)
        assert torch.allclose(new.model.embed_tokens.weight[token.id], mean, atol=1e-6)
        assert torch.allclose(new.lm_head.weight[token.id], model.lm_head.weight[pieces].mean(0), atol=1e-6)
    assert torch.equal(new.model.embed_tokens.weight[: model.config.vocab_size], model.model.embed_tokens.weight)


def test_it_is_saved_and_loaded_as_it_is(larger, tmp_path):
    larger[0].save_pretrained(tmp_path)
    larger[1].save_pretrained(tmp_path)
    model, processor = sightline.load(tmp_path, device="cpu", dtype="float32")
    assert torch.equal(model.lm_head.weight, larger[0].lm_head.weight)
    assert [processor.encode_text(text) for text in TEXTS] == [larger[1].encode_text(text) for text in TEXTS]


def test_control_tokens_beside_the_models_vocabulary_keep_their_ids(loaded):
    tokenizer = deepcopy(loaded[1].tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<|more|>"]})
    before = tokenizer.get_vocab()
    larger, made_of = with_words(tokenizer, ["Ġphotographs"])
    assert made_of
    after = larger.get_vocab()
    assert {token: after[token] for token in before} == before
    assert larger("a<image>b<|more|>")["input_ids"] == tokenizer("a<image>b<|more|>")["input_ids"]
    assert len(set(after.values())) == len(after) == len(before) + len(made_of)


def test_no_words_change_nothing(loaded):
    assert grown(*loaded, []) == loaded
