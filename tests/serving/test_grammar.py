"""Answers are held to their grammar, whatever the model would like to say; a bad grammar harms nobody.

The model's weights are random: what it says is the grammar's doing.
"""

import json
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import sightline
from sightline.serving.errors import APIError
from sightline.serving.grammar import Grammars, tokenizer_text
from sightline.serving.settings import Limits

from .bystander import MOST_BYTES
from .compiling import compiled
from .peak_memory import bounded_memory

ASK = [{"role": "user", "content": "What is this?"}]


@pytest.fixture(autouse=True)
def memory():
    with bounded_memory(MOST_BYTES):
        yield


@pytest.fixture(scope="module")
def engine(tiny):
    with sightline.Engine(*tiny, kv_cache_bytes=4 * 2**20) as engine:
        yield engine


@pytest.fixture
def answer(engine, grammars):
    """The reply under a grammar; sampled, so that other seeds say other things."""

    def answer(kind, value, seed=0, max_new_tokens=100, **options):
        rule = compiled(grammars, kind, value, "response_format")()
        options = {"temperature": 1.0, "seed": seed, "max_new_tokens": max_new_tokens, **options}
        return engine.chat(ASK, rules=[rule], **options)

    return answer


# What a schema allows, as pydantic says it; every text is bounded, so that random weights come to an end.
WORD = {"type": "string", "enum": ["duck", "鸭子", "a@b", 'quo"te']}
LEAVES = [
    (WORD, str),
    ({"type": "integer", "minimum": 0, "maximum": 99}, int),
    ({"type": "boolean"}, bool),
    ({"type": "null"}, type(None)),
    ({"const": "@"}, str),
]


def _array(leaf):
    return {"type": "array", "items": leaf[0], "minItems": 1, "maxItems": 2}, list[leaf[1]]


def _object(leaves):
    from pydantic import create_model

    names = ["one", "二", "at@"][: len(leaves)]
    schema = {
        "type": "object",
        "properties": {name: leaf[0] for name, leaf in zip(names, leaves, strict=True)},
        "required": names,
        "additionalProperties": False,
    }
    return schema, create_model("Made", **{name: (leaf[1], ...) for name, leaf in zip(names, leaves, strict=True)})


SCHEMAS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(inner.map(_array), st.lists(inner, min_size=1, max_size=3).map(_object)),
    max_leaves=4,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=SCHEMAS, seed=st.integers(0, 99))
def test_random_weights_answer_with_json_of_the_schema(answer, made, seed):
    schema, type_ = made
    reply = answer("json_schema", schema, seed)
    if reply.finish_reason == "stop":
        TypeAdapter(type_).validate_json(reply.text, strict=True)
        assert reply.text == json.dumps(json.loads(reply.text), ensure_ascii=False, separators=(",", ":"))
    else:
        assert reply.finish_reason == "length"


def test_a_json_object_is_one(answer):
    ended = [reply for seed in range(6) if (reply := answer("json_object", None, seed)).finish_reason == "stop"]
    assert ended
    assert all(isinstance(json.loads(reply.text), dict) for reply in ended)


@pytest.mark.parametrize("pattern", [r"[a-z]{3}-\d\d", r"(yes|no)( it is)?\.", r"^鸭子{1,3}$", r"@+b?@", "a/b|\\\\"])
def test_an_answer_matches_the_whole_regular_expression(answer, pattern):
    replies = [answer("regex", pattern, seed) for seed in range(3)]
    assert any(reply.finish_reason == "stop" for reply in replies)
    for reply in replies:
        assert re.fullmatch(pattern, reply.text) or reply.finish_reason == "length"


CHOICES = ["duck", "duckling", "左上角有一只鸭子。", "me@home", "<|at|>", "<|im_end|>", '"\\\n\x7f', "🦆", ""]


def test_an_answer_is_one_of_the_choices_and_ends(answer):
    replies = [answer("choice", CHOICES, seed) for seed in range(12)]
    assert {reply.finish_reason for reply in replies} == {"stop"}
    assert {reply.text for reply in replies} <= set(CHOICES)
    assert len({reply.text for reply in replies}) > 2


@pytest.mark.parametrize("text", CHOICES)
def test_a_single_choice_is_what_the_model_says_to_the_letter(answer, text):
    reply = answer("choice", [text], temperature=0.0)
    assert (reply.text, reply.finish_reason) == (text, "stop")


def test_each_token_is_to_the_matcher_what_it_decodes_to(tiny):
    from llguidance import LLTokenizer

    processor = tiny[1]
    tokenizer = LLTokenizer(tokenizer_text(processor), n_vocab=len(processor.tokenizer) + 100, eos_token=[2])
    for token in range(len(processor.tokenizer)):
        text = processor.decode([token], skip_special_tokens=True)
        assert tokenizer.is_special_token(token) or text
        if text and "\ufffd" not in text:  # which stands for bytes of a longer character
            assert tokenizer.decode_bytes([token]).decode() == text
            assert not tokenizer.is_special_token(token)


def test_ids_beyond_the_tokenizer_and_the_placeholder_are_never_allowed(tiny):
    model, processor = tiny
    size = model.config.vocab_size + 37
    grammars = Grammars(processor, [0, 2], size, Limits())
    rule = compiled(grammars, "regex", "[^x]*", "regex")()
    scores = rule(torch.zeros(1, 5, dtype=torch.int64), torch.zeros(1, size))
    allowed = torch.isfinite(scores[0]).nonzero()[:, 0].tolist()
    assert processor.image_token_id not in allowed
    assert max(allowed) < len(processor.tokenizer)
    assert {0, 2} <= set(allowed)
    assert not {1, processor.tokenizer.convert_tokens_to_ids("<|reserved_0|>")} & set(allowed)
    grammars.close()


def test_max_tokens_cuts_an_answer(answer):
    reply = answer("regex", "a{50}", max_new_tokens=5)
    assert (reply.text, reply.finish_reason) == ("aaaaa", "length")


def test_answers_in_one_batch_are_those_they_would_be_alone(engine, grammars):
    wanted = [("choice", ["duck", "bird"]), ("json_schema", {"type": "array", "items": WORD, "maxItems": 2}), None]

    def submit(one, n):
        rules = [] if one is None else [compiled(grammars, *one, "response_format")()]
        return engine.submit(ASK, rules=rules, temperature=1.0, seed=n, max_new_tokens=20)

    alone = [submit(one, n).result().tokens for n, one in enumerate(wanted)]
    together = [handle.result().tokens for handle in [submit(one, n) for n, one in enumerate(wanted)]]
    assert together == alone


def test_preemption_and_drafts_change_no_answer(tiny, grammars):
    schema = {"type": "array", "items": {"enum": ["xyz xyz xyz", "a@b a@b a@b"]}, "minItems": 5, "maxItems": 5}

    def texts(engine, **options):
        rules = [compiled(grammars, "json_schema", schema, "response_format")() for _ in range(4)]
        asked = [engine.submit(ASK, rules=[rule], max_new_tokens=90, **options) for rule in rules]
        return [handle.result().text for handle in asked]

    with sightline.Engine(*tiny, kv_cache_bytes=2**22, prefix_caching=False) as roomy:
        expected = texts(roomy)
        assert all(isinstance(json.loads(text), list) for text in expected)
        assert texts(roomy, prompt_lookup=4) == expected
        assert 0 < roomy.stats["accepted"] < roomy.stats["drafted"]
    # Room for little more than one of them: they push each other out.
    per_block = 4 * 2 * 2 * 16 * 32
    with sightline.Engine(*tiny, kv_cache_bytes=9 * per_block, prefix_caching=False) as tight:
        assert texts(tight) == expected
        assert tight.stats["preemptions"] > 0


def test_a_draft_that_the_grammar_excludes_is_taken_back(grammars, tiny):
    encode, size = tiny[1].encode_text, tiny[0].config.vocab_size
    rule = compiled(grammars, "choice", ["duck", "bird"], "choice")()
    prompt, logits = [5, 6], torch.zeros(1, size)

    def allowed(written):
        scores = rule(torch.tensor([prompt + written]), logits)
        return set(torch.isfinite(scores[0]).nonzero()[:, 0].tolist())

    first = allowed([])
    assert len(allowed(encode("x"))) == size  # nothing behind a wrong draft is taken
    assert len(allowed([*encode("bird"), 2, *encode("d")])) == size
    assert allowed(encode("duck")) == {2}
    assert allowed([]) == first
    assert allowed(encode("bird")) == {2}


def test_a_rule_that_hits_its_limit_ends_its_answer_alone(engine, grammars):
    # Cheap at first, and beyond the lexer's limits where what follows the dots begins.
    rule = compiled(grammars, "regex", "[.]{60}(.{0,9999}){9999}", "regex")()
    plain = engine.chat(ASK, max_new_tokens=100).tokens
    other, failing = engine.submit(ASK, max_new_tokens=100), engine.submit(ASK, rules=[rule], max_new_tokens=100)
    with pytest.raises(APIError, match=r"^regex became too complex to follow within this answer") as caught:
        failing.result()
    assert (caught.value.status, caught.value.param) == (400, "regex")
    assert other.result().tokens == plain
    again = compiled(grammars, "regex", "[.]{60}(.{0,9999}){9999}", "regex")()
    assert engine.chat(ASK, rules=[again], max_new_tokens=30).text == "." * 30


def test_a_grammar_that_is_slow_to_follow_ends_its_answer(grammars, tiny, monkeypatch):
    monkeypatch.setattr("sightline.serving.grammar.TOKEN_SECONDS", 0.0)
    monkeypatch.setattr("sightline.serving.grammar.BURST_SECONDS", 0.0)
    rule = compiled(grammars, "regex", "a+", "regex")()
    with pytest.raises(APIError, match="too complex to follow"):
        rule(torch.tensor([[5]]), torch.zeros(1, tiny[0].config.vocab_size))
