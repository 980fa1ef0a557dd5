"""A model with a larger vocabulary: words that its tokenizer spelled out become single tokens, each of which begins as
the mean of its pieces (as Hewitt, 2021, of all words). Nothing is trained here.

The words' merges come behind all others, so that they take effect where these have nothing left to do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from sightline.interop.language import rebuilt
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor

__all__ = ["grown", "with_words"]

_ROWS = ("model.embed_tokens.weight", "lm_head.weight")


def grown(model: VLM, processor: VLMProcessor, words: Sequence[str]) -> tuple[VLM, VLMProcessor]:
    """A copy of `model` whose tokenizer has `words`, and its processor; as they are where there is nothing to add.

    Args:
        words: as the tokenizer's pre-tokenizer gives them, in its alphabet of bytes.

    Raises:
        ValueError: the tokenizer is no byte-level BPE.
    """
    tokenizer, made_of = with_words(processor.tokenizer, words)
    if not made_of:
        return model, processor
    config = deepcopy(model.config)
    config.vocab_size = max(config.vocab_size, len(tokenizer))
    config.check()
    weights: dict[str, Tensor] = dict(model.state_dict())
    for name in _ROWS:
        if name in weights:
            weights[name] = _with_rows(weights[name], config.vocab_size, made_of)
    fitted = VLMProcessor(
        processor.image_processor,
        tokenizer,
        chat_template=str(processor.chat_template),
        image_token=processor.image_token,
        num_image_tokens=processor.num_image_tokens,
    )
    return rebuilt(model, config, weights), fitted


def with_words(
    tokenizer: PreTrainedTokenizerFast, words: Sequence[str]
) -> tuple[PreTrainedTokenizerFast, dict[int, list[int]]]:
    """A copy of `tokenizer` that has `words`, and of which of its old tokens each new one is made."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"]["type"] != "BPE":
        raise ValueError(f"only a byte-level BPE tokenizer can grow by words, and this is a {state['model']['type']}")
    vocab: dict[str, int] = state["model"]["vocab"]
    # Control tokens that stand beside the model's vocabulary are numbered behind it, and it grows: inside it they keep
    # their ids.
    for added in state["added_tokens"]:
        vocab.setdefault(added["content"], added["id"])
    old = tokenizer.backend_tokenizer.model
    merges: dict[tuple[str, str], int] = {}
    made_of: dict[int, list[int]] = {}
    for word in words:
        left, *rest = _merged([token.value for token in old.tokenize(word)], merges)
        for right in rest:
            whole = left + right
            if whole not in vocab:
                vocab[whole] = len(tokenizer) + len(made_of)
                made_of[vocab[whole]] = [token.id for token in old.tokenize(whole)]
            merges.setdefault((left, right), len(merges))
            left = whole
    state["model"]["merges"] += [list(pair) for pair in merges]
    larger: Any = deepcopy(tokenizer)
    larger._tokenizer = Tokenizer.from_str(json.dumps(state))
    return larger, made_of


def _merged(pieces: list[str], merges: dict[tuple[str, str], int]) -> list[str]:
    """What `merges`, by rank, make of `pieces`: an earlier word's may take a part of a later one."""
    while True:
        known = [(merges[pair], place) for place, pair in enumerate(pairwise(pieces)) if pair in merges]
        if not known:
            return pieces
        _, place = min(known)
        pieces = [*pieces[:place], pieces[place] + pieces[place + 1], *pieces[place + 2 :]]


def _with_rows(
    rows: Float[Tensor, "vocab hidden"], count: int, made_of: dict[int, list[int]]
) -> Float[Tensor, "new_vocab hidden"]:
    """`count` rows: the given ones, and for each new token the mean of those that it is made of."""
    larger = torch.cat([rows, rows.new_zeros(max(0, count - len(rows)), rows.shape[1])])
    for token, pieces in made_of.items():
        larger[token] = rows[pieces].float().mean(0).to(rows.dtype)
    return larger
