"""Tokens from logits: transformers' rules, and random numbers that depend on the request alone."""

import pytest
import torch
from transformers.generation import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sightline.engine.request import SamplingParams
from sightline.engine.sampling import Chooser, _warpers, choose, logprobs_of

VOCABULARY = 50


@pytest.fixture
def logits():
    return torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(1)) * 3


def chosen(logits, params, texts=None, times=1):
    choosers = [Chooser(one, 2) for one in params]
    texts = texts or [[1, 2]] * len(params)
    return [step(logits, choosers, texts) for _ in range(times)]


def step(logits, choosers, texts):
    scores = {n: one.scores(texts[n], logits[n]) for n, one in enumerate(choosers) if not one.is_plain}
    return choose(logits, choosers, scores)


def test_greedy_is_the_likeliest_token(logits):
    assert chosen(logits, [SamplingParams()] * 4) == [logits.argmax(-1).tolist()]


def test_a_seed_gives_the_same_tokens_alone_and_among_others(logits):
    mixed = [SamplingParams(temperature=1.5, seed=7), SamplingParams(), SamplingParams(temperature=0.7, seed=3)]
    together = chosen(logits[:3], mixed, times=20)
    for row, params in enumerate(mixed):
        alone = chosen(logits[row : row + 1], [params], times=20)
        assert [step[0] for step in alone] == [step[row] for step in together]


def test_without_a_seed_two_requests_differ(logits):
    flat = torch.zeros_like(logits)
    first, second = (chosen(flat, [SamplingParams(temperature=1.0)] * 4, times=10) for _ in range(2))
    assert first != second


def test_tokens_come_as_often_as_they_are_probable():
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    chooser = Chooser(SamplingParams(temperature=1.0, seed=0), 0)
    drawn = [step(logits, [chooser], [[]])[0] for _ in range(4000)]
    shares = torch.bincount(torch.tensor(drawn), minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.03, rtol=0)


def test_a_token_that_is_excluded_is_never_drawn():
    logits = torch.full((1, 5), float("-inf"))
    logits[0, 3] = 0.0
    chooser = Chooser(SamplingParams(temperature=1.0, seed=0), 0)
    assert {step(logits, [chooser], [[]])[0] for _ in range(50)} == {3}


def test_scores_are_those_of_transformers_processors(logits):
    params = SamplingParams(temperature=0.6, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.3, seed=0)
    theirs = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.3),
            TemperatureLogitsWarper(0.6),
            TopKLogitsWarper(20),
            TopPLogitsWarper(0.9),
            MinPLogitsWarper(0.02),
        ]
    )
    ids = [4, 8, 8, 15]
    torch.testing.assert_close(Chooser(params, 2).scores(ids, logits[0]), theirs(torch.tensor([ids]), logits[:1])[0])


def test_presence_and_frequency_count_the_answer_alone(logits):
    chooser = Chooser(SamplingParams(presence_penalty=0.5, frequency_penalty=0.25), prompt_length=2)
    scores = chooser.scores([9, 9, 3, 3, 5], logits[0])
    expected = logits[0].clone()
    expected[3] -= 0.5 + 0.5
    expected[5] -= 0.5 + 0.25
    torch.testing.assert_close(scores, expected)


def test_a_bias_makes_a_token_the_likeliest(logits):
    assert chosen(logits[:1], [SamplingParams(logit_bias={17: 100.0})]) == [[17]]


def test_a_top_p_of_nothing_is_the_likeliest_alone(logits):
    kept = _warpers(SamplingParams(temperature=1.0, top_p=0.0))(None, logits.clone()).isfinite()
    assert torch.equal(kept, logits == logits.max(dim=-1, keepdim=True).values)


def test_log_probabilities_are_of_the_models_own_logits(logits):
    tokens, tops = [4, 0, 7, 7], [2, 0, 1, VOCABULARY + 1]
    found = logprobs_of(logits, tokens, tops)
    for row, (one, token, top) in enumerate(zip(found, tokens, tops, strict=True)):
        expected = logits[row].log_softmax(-1)
        assert (one.token, len(one.top)) == (token, min(top, VOCABULARY))
        assert one.logprob == pytest.approx(expected[token].item())
        assert [token for token, _ in one.top] == expected.topk(min(top, VOCABULARY)).indices.tolist()
        assert [logprob for _, logprob in one.top] == pytest.approx(expected.topk(min(top, VOCABULARY)).values.tolist())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -1}, r"temperature is between 0 and 100, not -1"),
        ({"top_p": -0.1}, r"top_p is between 0 and 1"),
        ({"max_new_tokens": 0}, r"max_new_tokens is between 1 and"),
        ({"stop": ("",)}, r"an empty stop text"),
        ({"temperature": 1.0, "prompt_lookup": 4}, r"prompt_lookup is exact for greedy answers alone"),
        ({"max_new_tokens": 2.5}, r"max_new_tokens is a whole number, not 2\.5"),
        ({"temperature": "hot"}, r"temperature is a number, not 'hot'"),
        ({"logit_bias": {5.0: 1.0}}, r"logit_bias is by token id, not by 5\.0"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty is above 0"),
    ],
)
def test_a_wrong_value_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        SamplingParams(**wrong)


def test_null_is_the_default_of_stop_texts_and_biases():
    assert (SamplingParams(stop=None).stop, SamplingParams(logit_bias=None).logit_bias) == ((), {})


def test_a_rule_that_writes_in_place_leaves_the_logits_alone(logits):
    before = logits.clone()

    def ban(ids, scores):
        scores[:, 3] = -float("inf")
        return scores

    assert Chooser(SamplingParams(), 0, [ban]).scores([1], logits[0])[3] == -float("inf")
    assert torch.equal(logits, before)


def test_one_stop_text_is_not_its_letters():
    assert SamplingParams(stop="END").stop == ("END",)


def test_a_temperature_next_to_zero_is_greedy(logits):
    assert chosen(logits, [SamplingParams(temperature=1e-39)] * 4) == [logits.argmax(-1).tolist()]


def test_a_whole_number_is_a_penalty(logits):
    assert torch.isfinite(Chooser(SamplingParams(repetition_penalty=2), 0).scores([1], logits[0])).all()
