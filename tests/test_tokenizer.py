"""The layout of the ids, what training may and may not learn, and that it all survives saving without our code."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

from sightline.tokenizer import AT_TOKEN, CONTROL_TOKENS, FIRST_MERGE_ID, RESERVED_TOKENS, train_tokenizer

TEXTS = [
    "请描述这张图片：红色的圆形在左边。",
    "A red circle is left of the blue square, mail me@here.com @@@@ @home.",
] * 20
AT_ID = 259


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 400)


def test_control_tokens_come_first_and_at_is_34(tokenizer):
    assert tokenizer.convert_tokens_to_ids([*CONTROL_TOKENS, "@", AT_TOKEN]) == [0, 1, 2, 34, AT_ID]
    assert tokenizer.convert_tokens_to_ids(list(RESERVED_TOKENS)) == list(range(260, FIRST_MERGE_ID))
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 2, None)


def test_a_run_of_196_at_signs_is_196_ids(tokenizer):
    input_ids = tokenizer("请描述这张图片：" + "@" * 196, return_tensors="pt")["input_ids"][0].tolist()
    assert input_ids[-196:] == [34] * 196
    assert 34 not in input_ids[:-196]


def test_no_token_but_two_contains_an_at_sign(tokenizer):
    vocab = tokenizer.get_vocab()
    assert [token for token in vocab if "@" in token] == ["@"]
    assert tokenizer("x@y@@z").input_ids.count(34) == 3


def test_the_vocabulary_is_filled_exactly_or_stops_where_the_texts_end():
    assert len(train_tokenizer(TEXTS, 300)) == 300
    assert len(train_tokenizer(["ab"], 5000)) < 5000
    assert len(train_tokenizer([], FIRST_MERGE_ID)) == FIRST_MERGE_ID


def test_a_vocabulary_without_room_for_the_bytes_is_an_error():
    with pytest.raises(ValueError, match=f"vocab_size=200 is below the {FIRST_MERGE_ID} ids"):
        train_tokenizer(TEXTS, 200)


def test_frequent_chinese_words_become_single_tokens_and_sentences_do_not():
    texts = ["图片里有红色的圆形", "图片里有蓝色的方形", "这张图片很大", "红色的方形", "蓝色的圆形"] * 50
    tokenizer = train_tokenizer(texts, 2000)
    assert len(tokenizer("图片").input_ids) == 1
    assert len(tokenizer("图片里有红色的圆形").input_ids) >= 2
    assert max(len(token) for token in tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)) >= 12
    learned = [token for token, index in tokenizer.get_vocab().items() if index >= FIRST_MERGE_ID]
    assert max(map(len, learned)) <= 12


def test_training_is_reproducible():
    assert train_tokenizer(TEXTS, 350).get_vocab() == train_tokenizer(TEXTS, 350).get_vocab()


def test_text_splits_as_qwen2_does_but_is_not_normalised(tokenizer):
    qwen = Qwen2Tokenizer().backend_tokenizer
    ours = tokenizer.backend_tokenizer
    for text in ["It's 2024, isn't it?\n\n  x", "  a\tb \r\n\r\n c!?)\n", "图片：红 色123", "...foo @@bar -x"]:
        assert ours.pre_tokenizer.pre_tokenize_str(text) == qwen.pre_tokenizer.pre_tokenize_str(text)
    assert tokenizer.decode(tokenizer("e\u0301 \u212b").input_ids) == "e\u0301 \u212b"


def test_a_typed_at_decodes_to_an_at_sign_also_without_special_tokens(tokenizer):
    ids = [1, AT_ID, 34, AT_ID, 2, 0]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "@@@"
    assert tokenizer.decode(ids) == "<|im_start|>@@@<|im_end|><|endoftext|>"


def test_reloading_needs_none_of_our_code(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    assert reloaded.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert reloaded.decode([AT_ID, 66, AT_ID, 2], skip_special_tokens=True) == "@`@"
    assert (reloaded.padding_side, reloaded.pad_token_id, reloaded.eos_token_id) == ("left", 0, 2)


SPELLED = ["There is a river. The Rivers run.", 'It says "river".', "在左边的是“river”。", "TV, a TVs"] * 30


def test_words_are_spelled_where_no_space_and_no_capital_begins_them():
    tokenizer = spelled()

    def pieces(text):
        return [tokenizer.decode(one) for one in tokenizer(text).input_ids]

    assert pieces(" river") == [" river"]
    assert pieces("There") == ["There"]
    assert pieces("river") == list("river")
    assert pieces('a "river"')[-6:] == [*"river", '"']
    assert len(pieces("“river”")) == len(pieces("“”")) + len("river")


@given(st.text(alphabet='aeTVrsi river“”。"左边的', max_size=40))
def test_spelling_changes_how_text_is_cut_and_not_what_comes_back(text):
    tokenizer = spelled()
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_a_spelled_vocabulary_is_filled_exactly_or_stops_where_the_texts_end():
    assert len(train_tokenizer(SPELLED, 280, spell=True)) == 280
    tokenizer = spelled()
    assert len(tokenizer) < 800
    latin = [token for token in tokenizer.get_vocab() if token.isascii() and token.isalpha()]
    assert [token for token in latin if len(token) > 1 and token[0].islower()] == []


@functools.cache
def spelled():
    return train_tokenizer(SPELLED, 800, spell=True)
