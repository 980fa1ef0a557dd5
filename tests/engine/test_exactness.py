"""Whatever else is asked, and however little memory there is: the tokens of `model.generate`, greedy, in float32."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.engine.compiling import compiler_status
from sightline.engine.engine import Engine
from sightline.engine.prompts import PromptReader
from sightline.engine.quantize import quantize
from sightline.engine.request import SamplingParams

from .conversations import CONVERSATIONS, NEW, ask, plain


@pytest.fixture(scope="module")
def expected(loaded):
    return [plain(loaded, messages) for messages in CONVERSATIONS]


def sampled(which, length):
    return SamplingParams(temperature=1.3, seed=which, max_new_tokens=length)


@pytest.fixture(scope="module")
def expected_samples(loaded):
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        return [
            engine.chat(*pair).tokens for pair in zip(CONVERSATIONS, map(sampled, range(8), [NEW] * 8), strict=True)
        ]


@pytest.fixture
def make_engine(loaded):
    made = []

    def make(**options):
        made.append(Engine(*loaded, **{"kv_cache_bytes": 2**22, **options}))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def blocks(engine_options, loaded, count):
    """A budget of `count` blocks."""
    from sightline.engine.kv_cache import bytes_per_block

    return {
        **engine_options,
        "kv_cache_bytes": count * bytes_per_block(loaded[0].config, 4, torch.float32),
        "block_size": 4,
    }


def test_each_conversation_alone(make_engine, expected):
    engine = make_engine()
    assert [engine.chat(messages, max_new_tokens=NEW).tokens for messages in CONVERSATIONS] == expected


def test_all_together(make_engine, expected):
    replies = make_engine().batch(CONVERSATIONS, max_new_tokens=NEW)
    assert [reply.tokens for reply in replies] == expected


@pytest.mark.parametrize("tokens", [1, 3, 7, 64])
def test_prompts_in_chunks(make_engine, expected, tokens):
    engine = make_engine(max_batch_tokens=tokens, max_batch_size=min(tokens, 4), prefix_caching=False)
    replies = engine.batch(CONVERSATIONS, max_new_tokens=NEW)
    assert [reply.tokens for reply in replies] == expected


@pytest.mark.parametrize("size", [1, 2, 5])
def test_few_at_a_time(make_engine, expected, size):
    replies = make_engine(max_batch_size=size).batch(CONVERSATIONS, max_new_tokens=NEW)
    assert [reply.tokens for reply in replies] == expected


@pytest.mark.parametrize("prefix_caching", [True, False])
def test_preempted_answers_go_on_as_they_were(make_engine, loaded, prefix_caching):
    engine = make_engine(**blocks({"prefix_caching": prefix_caching}, loaded, 40))
    replies = engine.batch(CONVERSATIONS[:5], max_new_tokens=50)
    assert [reply.tokens for reply in replies] == [plain(loaded, messages, 50) for messages in CONVERSATIONS[:5]]
    assert engine.stats["preemptions"] > 0


def test_what_was_asked_before_is_taken_from_the_cache(make_engine, expected):
    engine = make_engine()
    engine.batch(CONVERSATIONS, max_new_tokens=NEW)
    again = [engine.chat(messages, max_new_tokens=NEW) for messages in CONVERSATIONS]
    assert [reply.tokens for reply in again] == expected
    # All but the last token of each prompt: its logits are what the answer begins with.
    assert [reply.usage.cached_tokens for reply in again] == [reply.usage.prompt_tokens - 1 for reply in again]


def test_a_second_question_computes_its_own_text_alone(make_engine, loaded):
    engine = make_engine()
    engine.chat(ask("What is this?", "red"), max_new_tokens=2)
    before = engine.stats
    reply = engine.chat(ask("How many?", "red"), max_new_tokens=NEW)
    assert reply.tokens == plain(loaded, ask("How many?", "red"))
    first, second = (engine._reader.read(ask(text, "red"))[0].ids for text in ("What is this?", "How many?"))
    same = next(n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1])
    assert reply.usage.cached_tokens == same > 16
    new = len(second) - same
    assert engine.stats["tokens_computed"] - before["tokens_computed"] == new + len(reply.tokens) - 1
    assert engine.stats["images_encoded"] == before["images_encoded"]


@pytest.mark.parametrize("drafts", [1, 4, 8])
def test_drafts_change_nothing(make_engine, expected, drafts):
    engine = make_engine()
    replies = engine.batch(CONVERSATIONS, max_new_tokens=NEW, prompt_lookup=drafts)
    assert [reply.tokens for reply in replies] == expected
    assert engine.stats["accepted"] > 0


def test_right_drafts_save_steps(make_shape):
    """A model that says the same token for ever is drafted rightly."""
    model, processor = make_shape()
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
    steps = []
    for drafts in (0, 8):
        with Engine(model, processor, kv_cache_bytes=2**22) as engine:
            reply = engine.chat(ask("What is this?", "red"), max_new_tokens=60, prompt_lookup=drafts)
            steps.append(engine.stats["steps"])
        assert reply.tokens == plain((model, processor), ask("What is this?", "red"), 60)
    assert steps[1] < steps[0] / 4


def test_other_requests_of_transformers_generate(make_engine, loaded):
    messages = CONVERSATIONS[1]
    found = make_engine().chat(messages, max_new_tokens=NEW, repetition_penalty=1.4)
    assert found.tokens == plain(loaded, messages, repetition_penalty=1.4)


def test_a_seed_gives_the_same_answer_alone_and_among_others(make_engine):
    params = [SamplingParams(temperature=1.3, seed=seed, max_new_tokens=NEW) for seed in range(len(CONVERSATIONS))]
    alone = [make_engine().chat(*pair).tokens for pair in zip(CONVERSATIONS, params, strict=True)]
    engine = make_engine(max_batch_size=4, max_batch_tokens=16, prefix_caching=False)
    handles = [engine.submit(*pair) for pair in zip(CONVERSATIONS, params, strict=True)]
    assert [handle.result().tokens for handle in handles] == alone
    greedy = [make_engine().chat(messages, max_new_tokens=NEW).tokens for messages in CONVERSATIONS]
    assert sum(one != other for one, other in zip(alone, greedy, strict=True)) > len(alone) / 2


def test_streamed_pieces_join_to_the_answer(make_engine, loaded):
    engine, messages = make_engine(), CONVERSATIONS[1]
    assert "".join(engine.stream(messages, max_new_tokens=NEW)) == engine.chat(messages, max_new_tokens=NEW).text


def test_the_models_last_position_ends_the_answer(make_engine, loaded):
    messages = CONVERSATIONS[0]
    limit = loaded[0].config.max_position_embeddings
    reply = make_engine().chat(messages, max_new_tokens=10 * limit)
    assert reply.tokens == plain(loaded, messages, 10 * limit)
    assert reply.finish_reason == ("stop" if reply.tokens[-1] == loaded[0].config.eos_token_id else "length")


LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 40, "factor": 4.0}
SHAPES = {
    "longrope": {"rope_parameters": {**LONGROPE, "short_factor": [1.0] * 8, "long_factor": [3.0] * 8}},
    "mixture of experts": {
        "use_moe": True,
        "n_routed_experts": 4,
        "num_experts_per_token": 2,
        "moe_intermediate_size": 16,
    },
    "shared expert": {"use_moe": True, "n_routed_experts": 4, "num_experts_per_token": 1, "n_shared_experts": 1},
    "sliding window": {"sliding_window": 20},
    "norms, biases, one key head": {"qk_norm": True, "attention_bias": True, "num_key_value_heads": 1},
    "untied, two-layer projector": {"tie_word_embeddings": False, "projector_type": "mlp"},
    "scaled positions": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_models_of_other_shapes(make_shape, shape):
    loaded = make_shape(**SHAPES[shape])
    alone = [plain(loaded, messages) for messages in CONVERSATIONS]
    with Engine(*loaded, **blocks({"max_batch_tokens": 40, "max_batch_size": 4}, loaded, 40)) as engine:
        for _ in range(2):  # the second time from the caches
            replies = engine.batch(CONVERSATIONS, max_new_tokens=NEW, prompt_lookup=2)
            assert [reply.tokens for reply in replies] == alone


def test_a_given_answer_is_graded_alike_where_it_was_preempted(loaded):
    graded, preempted = [], 0
    for count in (200, 23):
        options = blocks({"max_batch_size": 2, "max_batch_tokens": 3}, loaded, count)
        core = Engine(*loaded, **options)._core
        reader = PromptReader(loaded[1])
        endless = SamplingParams(max_new_tokens=70, logit_bias={loaded[0].config.eos_token_id: -1000.0})
        core.add(*reader.read(ask("A")), endless, lambda *_: False, lambda _: None)
        for _ in range(8):
            core.step()
        job = core.add_graded(*reader.read(ask("What is this?")), list(range(200, 240)), lambda _: None)
        while core.has_work:
            core.step()
        graded.append(job.graded)
        preempted = core.stats.preemptions
    assert preempted > 0
    assert graded[1] == pytest.approx(graded[0], abs=1e-4)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, len(CONVERSATIONS) - 1), st.integers(1, NEW), st.integers(0, 3)),
        st.tuples(st.just("sample"), st.integers(0, len(CONVERSATIONS) - 1), st.integers(1, NEW), st.just(0)),
        st.tuples(st.just("step"), st.integers(1, 4)),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
    ),
    min_size=4,
    max_size=24,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=EVENTS,
    count=st.integers(24, 60),
    batch=st.integers(1, 5),
    tokens=st.integers(1, 40),
    prefix_caching=st.booleans(),
)
def test_any_coming_and_going_in_any_budget(
    loaded, expected, expected_samples, events, count, batch, tokens, prefix_caching
):
    options = blocks({"max_batch_size": batch, "max_batch_tokens": max(batch, tokens)}, loaded, count)
    engine = Engine(*loaded, prefix_caching=prefix_caching, image_cache_bytes=3000, **options)
    core, jobs = engine._core, []
    for event in events:
        if event[0] in ("ask", "sample"):
            kind, which, length, drafts = event
            prompt, images = engine._reader.read(CONVERSATIONS[which])
            greedy = SamplingParams(max_new_tokens=length, prompt_lookup=drafts)
            params, known = (greedy, expected) if kind == "ask" else (sampled(which, length), expected_samples)
            jobs.append((core.add(prompt, images, params, lambda *_: False, lambda _: None), known[which][:length]))
        elif event[0] == "step":
            for _ in range(event[1]):
                core.step()
        elif jobs:
            core.cancel(jobs[event[1] % len(jobs)][0])
    for _ in range(5000):
        if not core.has_work:
            break
        core.step()
    for job, tokens_expected in jobs:
        generated = tuple(job.sequence.generated)
        if job.finish_reason == "cancelled":
            assert generated == tokens_expected[: len(generated)]
        else:
            assert generated == tokens_expected
    assert core.scheduler.pool.in_use == 0
    engine.close()


COMPILED = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from conversations import CONVERSATIONS, NEW, plain
from sightline.engine.engine import Engine
from sightline.interop.load import load
loaded = load(sys.argv[2], device="cpu", dtype="float32")
with Engine(*loaded, kv_cache_bytes=2**22, compile=True) as engine:
    replies = engine.batch(CONVERSATIONS, max_new_tokens=NEW)
    assert engine._core.runner.is_compiled
    assert [reply.tokens for reply in replies] == [plain(loaded, messages) for messages in CONVERSATIONS]
"""


@pytest.mark.slow
@pytest.mark.parametrize("in_int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("shape", [{}, SHAPES["shared expert"]], ids=["dense", "experts"])
def test_compiled_decoding(make_shape, tmp_path, shape, in_int8):
    if not compiler_status("cpu").startswith("torch.compile"):
        pytest.skip(compiler_status("cpu"))
    model, processor = make_shape(**shape)
    (quantize(model) if in_int8 else model).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    # In a process of its own: the compiler does not get along with the checks of annotations here.
    command = [sys.executable, "-c", COMPILED, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
