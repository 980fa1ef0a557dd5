"""A request's own rules and biases: what they get wrong ends that request alone, and never makes up a token."""

import math

import pytest
import torch

from sightline.engine.engine import Engine
from sightline.engine.request import SamplingParams

from .conversations import CONVERSATIONS, NEW, plain


@pytest.fixture(scope="module")
def engine(loaded):
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        yield engine


def refused_beside_others(engine, loaded, rule, message, **options):
    """The rule's request fails with that message; one beside it, with scores of its own, does not."""
    long = {"max_new_tokens": 40, "temperature": 1.0, "seed": 3, "logit_bias": {loaded[0].config.eos_token_id: -1e3}}
    alone = engine.chat(CONVERSATIONS[1], **long).tokens
    beside = engine.submit(CONVERSATIONS[1], SamplingParams(**long))
    wrong = engine.submit(CONVERSATIONS[0], SamplingParams(max_new_tokens=5, **options), rules=[rule])
    with pytest.raises(ValueError, match=message):
        wrong.result()
    assert beside.result().tokens == alone
    assert engine.chat(CONVERSATIONS[0], max_new_tokens=NEW).tokens == plain(loaded, CONVERSATIONS[0])
    assert engine.stats["prefix_hit_tokens"] > 0  # nobody's cache was thrown away


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 1}], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda ids, scores: scores[:, :5], r"a rule gives scores of shape \[1, 5\] instead of \[1, "),
        (lambda ids, scores: scores * math.nan, "no token is left to choose"),
        (lambda ids, scores: scores - math.inf, "no token is left to choose"),
        (lambda ids, scores: scores.masked_fill(scores == scores.max(), math.nan), "no token is left to choose"),
    ],
    ids=["another shape", "nan", "all excluded", "one nan"],
)
def test_a_rule_that_is_wrong_ends_its_own_request(engine, loaded, rule, message, options):
    refused_beside_others(engine, loaded, rule, message, **options)


@pytest.mark.parametrize("wrong", ["raises", "excludes all"])
def test_what_a_rule_says_of_drafts_that_were_wrong_is_nobodys(engine, monkeypatch, wrong):
    messages, length = CONVERSATIONS[0], 6
    prompt = len(engine._reader.read(messages)[0].ids)
    said = list(engine.chat(messages, max_new_tokens=length).tokens)

    def only_the_answer(ids, scores):
        if ids[0, prompt:].tolist() == said[: ids.shape[1] - prompt]:
            return scores
        if wrong == "raises":
            raise ValueError("off the path")
        return scores - math.inf

    drafts = [token + 1 for token in said]
    monkeypatch.setattr("sightline.engine.drafting.PromptLookup.draft", lambda self, count: drafts[:count])
    params = SamplingParams(max_new_tokens=length, prompt_lookup=3)
    reply = engine.submit(messages, params, rules=[only_the_answer]).result()
    assert list(reply.tokens) == said
    assert engine.stats["drafted"] > 0


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 1}], ids=["greedy", "sampled"])
def test_no_rule_makes_a_placeholder_be_said(engine, loaded, options):
    placeholder = loaded[0].config.image_token_id

    def liked(ids, scores):
        return torch.zeros_like(scores).index_fill(1, torch.tensor([placeholder]), 1e4)

    tokens = engine.submit(CONVERSATIONS[0], SamplingParams(max_new_tokens=4, **options), rules=[liked]).result().tokens
    assert placeholder not in tokens


@pytest.mark.parametrize("bias", [math.nan, math.inf, "x", None])
def test_a_bias_is_a_number_or_excludes(bias):
    with pytest.raises(ValueError, match="logit_bias adds numbers, -inf at the least"):
        SamplingParams(logit_bias={5: bias})


def test_an_excluded_token_is_not_said(engine):
    (first, *_) = engine.chat(CONVERSATIONS[0], max_new_tokens=1).tokens
    assert first not in engine.chat(CONVERSATIONS[0], max_new_tokens=3, logit_bias={first: -math.inf}).tokens


def test_what_is_no_text_is_named(engine):
    with pytest.raises(ValueError, match="stop is a text or several, not 3"):
        SamplingParams(stop=(3,))
    with pytest.raises(ValueError, match="choices are texts, not 1"):
        engine.score(CONVERSATIONS[0], [1, 2])
