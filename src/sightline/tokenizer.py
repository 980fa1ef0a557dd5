"""The byte-level BPE tokenizer: how it is trained, and which id means what.

Layout, for every vocabulary size: three control tokens, then the 256 bytes in GPT-2's order, then `<|at|>` and
the reserved tokens, then the learned merges. Three control tokens put the byte '@' on id 34, the placeholder.
This file knows no chat format and no images; `processor.py` decides what a message may contain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

__all__ = [
    "AT_TOKEN",
    "CONTROL_TOKENS",
    "END_TOKEN",
    "FIRST_MERGE_ID",
    "IMAGE_TOKEN",
    "PAD_TOKEN",
    "RESERVED_TOKENS",
    "START_TOKEN",
    "beginning_of",
    "train_tokenizer",
]

PAD_TOKEN, START_TOKEN, END_TOKEN = CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
IMAGE_TOKEN = "@"
AT_TOKEN = "<|at|>"  # an '@' that someone typed: another id, the same text
RESERVED_TOKENS = tuple(f"<|reserved_{index}|>" for index in range(12))
_BYTES = tuple(sorted(pre_tokenizers.ByteLevel.alphabet()))
FIRST_MERGE_ID = len(CONTROL_TOKENS) + len(_BYTES) + 1 + len(RESERVED_TOKENS)
# In the alphabet of bytes, where Ġ is a space.
_LATIN = re.compile("[A-Za-z]")
_WORD = re.compile("(Ġ[A-Za-z]|[A-Z][A-Za-z])[A-Za-z]*")


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, max_token_length: int = 12, spell: bool = False
) -> PreTrainedTokenizerFast:
    """Learn merges from `texts` and return a transformers fast tokenizer.

    The vocabulary stops short of `vocab_size` where the texts hold no more pairs that occur twice. A token is
    at most `max_token_length` bytes: twelve are four Chinese characters, or a space and eleven letters. Without
    the limit a whole sentence that the texts repeat would become one token, as Chinese writes no spaces.

    With `spell`, Latin words are tokens behind a space or with a capital alone; others, such as one that stands in
    quotation marks or is all of an answer, are a token a letter. So a model that reads print says letter after letter,
    as it sees them, where it would choose among whole words.

    Raises:
        ValueError: `vocab_size` leaves no room for the control tokens and the bytes.
    """
    if vocab_size < FIRST_MERGE_ID:
        raise ValueError(f"vocab_size={vocab_size} is below the {FIRST_MERGE_ID} ids that precede the merges")
    wanted = vocab_size - FIRST_MERGE_ID
    trainer = trainers.BpeTrainer(
        vocab_size=wanted * (2 if spell else 1)
        + len(_BYTES),  # about half of the merges are left when words are spelled
        initial_alphabet=list(_BYTES),
        max_token_length=max_token_length,
        min_frequency=2,
        show_progress=False,
    )
    trained = _byte_level(BPE())
    trained.train_from_iterator(_without_at(texts), trainer)
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    return _build(_spelled(merges, wanted) if spell else merges)


def beginning_of(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The beginning-of-sequence token, where the tokenizer puts it before every text; else nothing."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return begin if tokenizer("a")["input_ids"][:1] == begin else []


def _spelled(merges: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """At most `count` merges that make of Latin letters only words, from their first letter on.

    A merge of two parts of a word would apply where the word has no beginning, too. One that adds a letter to a
    beginning does not, and makes the same words if each of a word's beginnings is a token.
    """
    kept: dict[tuple[str, str], None] = {}
    for left, right in merges:
        whole = left + right
        if not _LATIN.search(whole):
            kept[left, right] = None
        elif _WORD.fullmatch(whole):
            kept |= {(whole[:end], whole[end]): None for end in range(1, len(whole))}
    # A space takes its letter before a capital takes its own.
    return sorted(list(kept)[:count], key=lambda merge: merge[0] != "Ġ" or not _LATIN.match(merge[1]))


def _without_at(texts: Iterable[str]) -> Iterator[str]:
    """Cut the texts at '@', so that no merge contains it: n of them always stay n ids."""
    for text in texts:
        yield from text.split(IMAGE_TOKEN)


def _byte_level(model: BPE) -> Tokenizer:
    """A tokenizer around `model` that splits as Qwen2's does, which llama.cpp knows by the name `qwen2`.

    Unlike Qwen2's it has no NFC normaliser: text comes back exactly as it was typed.
    """
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    # The first step runs on whole tokens, and no other token can hold the text "<|at|>": the pre-tokenizer
    # parts letters from punctuation.
    tokenizer.decoder = decoders.Sequence([decoders.Replace(AT_TOKEN, IMAGE_TOKEN), decoders.ByteLevel()])
    return tokenizer


def _build(merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    assert not any(IMAGE_TOKEN in part for merge in merges for part in merge)
    tokens = [*CONTROL_TOKENS, *_BYTES, AT_TOKEN, *RESERVED_TOKENS, *("".join(merge) for merge in merges)]
    vocab = {token: index for index, token in enumerate(tokens)}
    assert len(vocab) == len(tokens)
    assert vocab[IMAGE_TOKEN] == 34
    backend = _byte_level(BPE(vocab=vocab, merges=merges))
    backend.add_special_tokens([_added(token, special=True) for token in (*CONTROL_TOKENS, *RESERVED_TOKENS)])
    # Not special: skip_special_tokens must keep the '@' it stands for.
    backend.add_tokens([_added(AT_TOKEN, special=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _added(token: str, special: bool) -> AddedToken:
    return AddedToken(token, special=special, normalized=False)
