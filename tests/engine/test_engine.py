"""The engine's interface: what comes back, what is refused, and that nothing that ends badly harms the others."""

import gc
import threading
import weakref
from copy import deepcopy

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from sightline.engine.engine import Engine

from .conversations import CONVERSATIONS, NEW, ask, plain


@pytest.fixture
def engine(loaded):
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        yield engine


def test_a_reply_says_what_it_took(engine, loaded):
    reply = engine.chat(ask("What is this?", "red"), max_new_tokens=5)
    prompt = loaded[1].apply_chat_template(ask("What is this?", "red"), add_generation_prompt=True, tokenize=True)
    assert reply.usage.prompt_tokens == len(prompt[0])
    assert reply.usage.image_tokens == 16
    assert reply.usage.completion_tokens == len(reply.tokens) == 5
    assert reply.finish_reason == "length"
    assert 0 < reply.timings.queued <= reply.timings.first_token <= reply.timings.total
    assert reply.timings.tokens_per_second > 0


def test_a_stop_text_ends_the_answer_before_it(engine):
    whole = engine.chat(CONVERSATIONS[1], max_new_tokens=NEW)
    stop = whole.text[3:5]
    reply = engine.chat(CONVERSATIONS[1], max_new_tokens=NEW, stop=(stop,))
    assert reply.text == whole.text[: whole.text.find(stop)]
    assert reply.finish_reason == "stop"
    assert len(reply.tokens) < len(whole.tokens)


def test_the_end_token_ends_the_answer_and_is_its_last_token(loaded, monkeypatch):
    model, _ = loaded
    first = plain(loaded, CONVERSATIONS[1])[0]
    monkeypatch.setattr(model.generation_config, "eos_token_id", [2, first])
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        reply = engine.chat(CONVERSATIONS[1], max_new_tokens=1000)
    assert (reply.finish_reason, reply.tokens) == ("stop", (first,))


def test_log_probabilities_are_the_models(engine, loaded):
    model, processor = loaded
    messages = CONVERSATIONS[1]
    reply = engine.chat(messages, max_new_tokens=4, logprobs=3)
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    given = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([reply.tokens])], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        logits = model(**inputs, logits_to_keep=0).logits[0, given - 1 : -1]
    logits[:, model.config.image_token_id] = float("-inf")
    for one, row, token in zip(reply.logprobs, logits.log_softmax(-1), reply.tokens, strict=True):
        assert one.token == token
        assert one.logprob == pytest.approx(row[token].item(), abs=1e-4)
        assert [token for token, _ in one.top] == row.topk(3).indices.tolist()


def test_scores_are_the_models_probabilities_and_the_prompt_is_computed_once(engine, loaded):
    model, processor = loaded
    messages, choices = ask("Is there a duck?", "red"), ["A duck.", "No", "A red circle"]
    scores = engine.score(messages, choices)
    prompt, _ = engine._reader.read(messages)
    computed = engine.stats["tokens_computed"]
    answers = sum(len(score.tokens) for score in scores)
    assert computed <= len(prompt.ids) + answers  # each answer reads the prompt's last token again
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    for score in scores:
        ids = torch.cat([inputs["input_ids"], torch.tensor([score.tokens])], dim=1)
        with torch.no_grad():
            logits = model(ids, pixel_values=inputs["pixel_values"], logits_to_keep=0).logits[0]
        logits[:, model.config.image_token_id] = float("-inf")
        chances = logits[len(prompt.ids) - 1 : -1].log_softmax(-1)
        by_hand = chances.gather(1, torch.tensor(score.tokens)[:, None]).sum().item()
        assert score.logprob == pytest.approx(by_hand, abs=1e-3)
    total = sum(torch.tensor(score.logprob).exp() for score in scores)
    assert [score.probability for score in scores] == pytest.approx(
        [(torch.tensor(score.logprob).exp() / total).item() for score in scores], rel=1e-4
    )
    assert engine.score(messages, choices) == [
        type(one)(one.text, pytest.approx(one.logprob, abs=1e-4), pytest.approx(one.probability, abs=1e-4), one.tokens)
        for one in scores
    ]


def test_a_scored_answer_may_end_with_any_of_several_ends(loaded, monkeypatch):
    messages, choices = ask("Is there a duck?", "red"), ["A duck.", "No"]
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        ends = (engine.end_tokens[0], 40)
        alone = []
        for some in (ends[:1], ends[1:], ends):
            monkeypatch.setattr(engine._core, "end_tokens", some)
            alone.append([score.logprob for score in engine.score(messages, choices)])
    for one, other, both in zip(*alone, strict=True):
        assert both == pytest.approx(torch.logaddexp(torch.tensor(one), torch.tensor(other)).item(), abs=1e-3)


@pytest.mark.parametrize(("choices", "message"), [([], "at least one choice"), (["a", "a"], "two choices are alike")])
def test_choices_that_cannot_be_compared_are_refused(engine, choices, message):
    with pytest.raises(ValueError, match=message):
        engine.score(ask("A?"), choices)


def test_a_prompt_that_is_too_long_is_refused_at_once(engine):
    with pytest.raises(ValueError, match=r"max_position_embeddings is 128"):
        engine.submit(ask("What is this? " * 60))


def test_a_request_that_the_budget_can_never_hold_is_refused(loaded):
    with (
        Engine(*loaded, kv_cache_bytes=2 * 8192) as engine,
        pytest.raises(ValueError, match=r"do not fit into the KV cache: shorten them or raise kv_cache_bytes"),
    ):
        engine.submit(ask("What is this? " * 8, "red"))


def test_a_large_batch_has_steps_of_as_many_tokens(loaded):
    with Engine(*loaded, max_batch_size=600, kv_cache_bytes=2**22) as engine:
        assert engine._core.scheduler.max_batch_tokens == 600


@pytest.mark.parametrize("size", [{"block_size": 0}, {"block_size": -1}, {"max_batch_tokens": 0}])
def test_a_size_of_nothing_is_refused_by_name(loaded, size):
    with pytest.raises(ValueError, match=next(iter(size))):
        Engine(*loaded, kv_cache_bytes=2**22, **size)


def test_an_answer_that_may_take_all_positions_takes_what_the_budget_holds(loaded):
    with Engine(*loaded, kv_cache_bytes=5 * 8192) as engine:
        pool = engine._core.scheduler.pool
        room = pool.num_blocks * pool.block_size
        assert room < loaded[0].config.max_position_embeddings
        reply = engine.chat(ask("A?"), max_new_tokens=loaded[0].config.max_position_embeddings)
        assert reply.usage.prompt_tokens + reply.usage.completion_tokens <= room
        with pytest.raises(ValueError, match="do not fit into the KV cache"):
            engine.submit(ask("A?"), max_new_tokens=room)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_no_numbers_are_an_error_and_no_answer(loaded, monkeypatch, temperature):
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        step, cache = engine._core.runner.forward, engine._core.runner.cache

        def overflowed(*given, **named):
            found = step(*given, **named)
            found.rows.fill_(float("nan"))
            for block in filter(engine._core.scheduler.pool.uses, range(cache.num_blocks)):
                for layer in cache.layers:
                    layer[:, block * cache.block_size : (block + 1) * cache.block_size] = float("nan")
            return found

        monkeypatch.setattr(engine._core.runner, "forward", overflowed)
        with pytest.raises(FloatingPointError, match="the model gives nan or infinity: load it in a wider dtype"):
            engine.chat(ask("A?"), max_new_tokens=3, temperature=temperature)
        with pytest.raises(FloatingPointError, match="the model gives nan"):
            engine.score(ask("A?"), ["a", "b"])
        monkeypatch.undo()
        # Nobody reads on where nan stood, neither as a prefix nor behind a mask.
        assert all(layer.isfinite().all() for layer in cache.layers)
        assert engine.chat(ask("A?"), max_new_tokens=NEW).tokens == plain(loaded, ask("A?"))


def test_nobody_reads_on_where_a_cancelled_prompt_had_overflowed(loaded, monkeypatch, caplog):
    with Engine(*loaded, kv_cache_bytes=2**22, max_batch_size=4, max_batch_tokens=8, block_size=4) as engine:
        core = engine._core
        step, cache, pool = core.runner.forward, core.runner.cache, core.scheduler.pool
        steps, submitted, handles = [], threading.Event(), []

        def overflowed(*given, **named):
            found = step(*given, **named)
            for block in filter(pool.uses, range(cache.num_blocks)):
                for layer in cache.layers:
                    layer[:, block * cache.block_size : (block + 1) * cache.block_size] = float("nan")
            steps.append(1)
            if len(steps) == 2:  # a first part is sealed: others could take it for the beginning of their prompt
                submitted.wait(10)
                handles[0].cancel()
            return found

        monkeypatch.setattr(core.runner, "forward", overflowed)
        handles.append(engine.submit(ask("A? " * 25), max_new_tokens=3))
        submitted.set()
        assert handles[0].result(timeout=10).finish_reason == "cancelled"
        assert len(steps) < 9
        monkeypatch.undo()
        assert all(layer.isfinite().all() for layer in cache.layers)
        assert pool.cached == 0
        assert engine.chat(ask("A?"), max_new_tokens=NEW).tokens == plain(loaded, ask("A?"))
    assert "a step failed" not in caplog.text


def test_grading_that_is_abandoned_while_it_waits_ends(engine, monkeypatch):
    gone = threading.Event()
    monkeypatch.setattr(engine._core, "add_graded", lambda *_: gone.set())  # and nothing ever comes of it
    with pytest.raises(RuntimeError, match="nobody waits"):
        engine.grade(ask("Is there a duck?"), ["A duck.", "No"], abandoned=gone)


def test_a_bias_for_a_token_that_does_not_exist_is_refused(engine):
    with pytest.raises(ValueError, match=r"logit_bias names token 9999"):
        engine.submit(ask("A?"), logit_bias={9999: 1.0})


def test_an_unknown_option_is_an_error(engine):
    with pytest.raises(TypeError, match="temprature"):
        engine.submit(ask("A?"), temprature=1.0)


def test_a_bad_conversation_of_a_batch_is_named_and_the_others_are_let_go(engine):
    with pytest.raises(ValueError, match="conversation 1: "):
        engine.batch([ask("A?"), [], ask("B?")], max_new_tokens=50)
    assert engine.chat(ask("A?"), max_new_tokens=1).tokens
    assert engine._core.jobs == []


def test_a_cancelled_answer_ends_and_frees_its_place(engine):
    handle = engine.submit(CONVERSATIONS[1], max_new_tokens=100, logit_bias={2: -1000.0})
    pieces = iter(handle)
    heard = next(pieces)
    handle.cancel()
    reply = handle.result(timeout=10)
    assert reply.finish_reason == "cancelled"
    assert heard + "".join(pieces) == reply.text
    assert engine._loop.run(lambda: engine._core.scheduler.pool.in_use) == 0


def test_cancelling_at_once_is_no_error(engine):
    handle = engine.submit(CONVERSATIONS[1], max_new_tokens=100, logit_bias={2: -1000.0})
    handle.cancel()
    assert handle.result(timeout=10).finish_reason == "cancelled"


def test_a_handle_can_be_iterated_again(engine):
    handle = engine.submit(CONVERSATIONS[1], max_new_tokens=3)
    assert "".join(handle) == handle.result().text
    assert list(handle) == []


def test_a_handle_keeps_its_engine_and_lets_go_of_it(loaded):
    handle = Engine(*loaded, kv_cache_bytes=2**22).submit(CONVERSATIONS[1], max_new_tokens=5)
    assert len(handle.result(timeout=10).tokens) == 5
    assert handle._engine is None


@pytest.mark.parametrize("where", ["rule", "text", "end"])
def test_a_request_that_fails_harms_no_other(engine, loaded, where):
    def explode(*_):
        raise RuntimeError("this one is broken")

    other = engine.submit(CONVERSATIONS[1], max_new_tokens=NEW)
    bad = engine.submit(CONVERSATIONS[2], max_new_tokens=100, rules=[explode] if where == "rule" else [])
    if where == "text":
        bad._text.push = explode
    elif where == "end":
        bad._text.finish = explode
    with pytest.raises(RuntimeError, match="this one is broken"):
        bad.result(timeout=10)
    assert other.result(timeout=10).tokens == plain(loaded, CONVERSATIONS[1])
    assert engine.chat(CONVERSATIONS[3], max_new_tokens=NEW).tokens == plain(loaded, CONVERSATIONS[3])


def test_a_salt_that_is_no_bytes_is_refused(engine):
    with pytest.raises(ValueError, match="salt is bytes, not str"):
        engine.submit(ask("A?"), salt="alice")
    with pytest.raises(ValueError, match="salt is bytes, not str"):
        engine.prepare_text("A?", salt="alice")


def test_ids_that_are_no_text_are_refused_before_they_could_fail_a_step(engine):
    with pytest.raises(ValueError, match="not all whole numbers"):
        engine.prepare_text([1.0, 2.0])
    with pytest.raises(ValueError, match="stands for a picture, but there is none"):
        engine.prepare_text([5, engine.model.config.image_token_id])
    assert list(engine.prepare_text(torch.tensor([5, 6])).prompt.ids) == [5, 6]


def test_a_batch_longer_than_its_window_is_in_order(loaded):
    with Engine(*loaded, kv_cache_bytes=2**22, max_batch_size=2) as engine:
        replies = engine.batch([CONVERSATIONS[n % 3] for n in range(9)], max_new_tokens=3)
    assert [reply.tokens for reply in replies] == [plain(loaded, CONVERSATIONS[n % 3], 3) for n in range(9)]


def test_two_engines_share_the_models_fused_weights(loaded):
    model, _ = loaded
    with Engine(*loaded, kv_cache_bytes=2**22) as one, Engine(*loaded, kv_cache_bytes=2**22) as other:
        places = [engine._core.runner.weights.layers[0].qkv.data_ptr() for engine in (one, other)]
        assert places[0] == places[1] == model.model.layers[0].self_attn.q_proj.weight.data_ptr()
        for engine in (one, other, one):
            assert engine.chat(CONVERSATIONS[1], max_new_tokens=NEW).tokens == plain(loaded, CONVERSATIONS[1])


def test_weights_that_are_replaced_are_noticed_and_nothing_stale_is_used(loaded):
    model, _ = loaded
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        before = engine.chat(CONVERSATIONS[1], max_new_tokens=NEW).tokens
        attention = model.model.layers[0].self_attn
        kept = attention.q_proj.weight
        attention.q_proj.weight = torch.nn.Parameter(-kept.detach().clone())
        try:
            after = engine.chat(CONVERSATIONS[1], max_new_tokens=NEW)
            assert after.tokens == plain(loaded, CONVERSATIONS[1]) != before
            assert after.usage.cached_tokens == 0
        finally:
            attention.q_proj.weight = kept


def test_who_stops_listening_cancels(engine):
    stream = engine.stream(CONVERSATIONS[1], max_new_tokens=100, logit_bias={2: -1000.0})
    next(stream)
    stream.close()
    assert engine._loop.run(lambda: engine._core.jobs) == []


def test_many_threads_ask_at_once(engine, loaded):
    found = {}

    def work(index):
        found[index] = engine.chat(CONVERSATIONS[index], max_new_tokens=NEW).tokens

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(CONVERSATIONS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: plain(loaded, messages) for n, messages in enumerate(CONVERSATIONS)}


def test_a_closed_engine_says_so_and_ends_what_is_under_way(loaded):
    engine = Engine(*loaded, kv_cache_bytes=2**22)
    handle = engine.submit(CONVERSATIONS[1], max_new_tokens=100, logit_bias={2: -1000.0})
    engine.close()
    engine.close()
    assert handle.result(timeout=10).finish_reason == "cancelled"
    with pytest.raises(RuntimeError, match="the engine is closed: make another one"):
        engine.submit(CONVERSATIONS[0])


def test_an_engine_that_nobody_holds_goes_away_with_its_thread(loaded):
    engine = Engine(*loaded, kv_cache_bytes=2**22)
    engine.chat(ask("A?"), max_new_tokens=1)
    thread, gone = engine._loop._thread, weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    thread.join(timeout=10)
    assert not thread.is_alive()


def change_in_place(weight):
    with torch.no_grad():
        weight.mul_(-1)


def replace_data(weight):
    weight.data = -weight.data


@pytest.mark.parametrize("change", [change_in_place, replace_data])
@pytest.mark.parametrize("part", ["model.layers.0.self_attn.q_proj", "vision_proj", "vision_encoder"])
def test_weights_that_change_are_used_and_what_was_cached_is_forgotten(loaded, change, part):
    model, _ = loaded
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        before = engine.chat(CONVERSATIONS[1], max_new_tokens=NEW).tokens
        weight = max(model.get_submodule(part).parameters(), key=torch.numel)
        kept = weight.detach().clone()
        change(weight)
        try:
            after = engine.chat(CONVERSATIONS[1], max_new_tokens=NEW).tokens
            assert after == plain(loaded, CONVERSATIONS[1]) != before
        finally:
            with torch.no_grad():
                weight.copy_(kept)


def test_another_salt_shares_nothing(engine):
    first = engine.chat(ask("What is this?", "red"), max_new_tokens=1)
    other = engine.chat(ask("What is this?", "red"), max_new_tokens=1, salt=b"another")
    again = engine.chat(ask("What is this?", "red"), max_new_tokens=1)
    assert first.usage.cached_tokens == other.usage.cached_tokens == 0
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


@pytest.mark.parametrize("options", [{}, {"stop": ("zq",)}, {"prompt_lookup": 4}])
def test_a_listener_hears_the_whole_answer_with_the_log_probability_of_each_token(engine, options):
    heard = []
    over = threading.Event()

    def listen(piece):
        heard.append(piece)
        if piece is None:
            over.set()

    handle = engine.submit(CONVERSATIONS[1], max_new_tokens=NEW, logprobs=1, listener=listen, **options)
    reply = handle.result(60)
    assert over.wait(60)
    *pieces, end = heard
    assert end is None
    assert "".join(piece.text for piece in pieces) == reply.text
    assert tuple(one for piece in pieces for one in piece.logprobs) == reply.logprobs
    assert [one.token for one in reply.logprobs] == list(reply.tokens)


def test_a_text_without_a_template_is_gone_on_from(engine, loaded):
    model, processor = loaded
    reply = engine.submit(engine.prepare_text("What is @"), max_new_tokens=6).result(60)
    ids = torch.tensor([processor.encode_text("What is @")])
    wanted = model.generate(ids, max_new_tokens=6, do_sample=False, bad_words_ids=[[model.config.image_token_id]])
    assert list(reply.tokens) == wanted[0, ids.shape[1] :].tolist()
    assert reply.usage.prompt_tokens == ids.shape[1]


def test_a_text_begins_with_what_the_tokenizer_begins_every_text_with(loaded):
    model, processor = loaded
    begun = deepcopy(processor)
    begun.tokenizer.add_special_tokens({"bos_token": begun.tokenizer.eos_token})
    begin = begun.tokenizer.bos_token_id
    pieces = TemplateProcessing(
        single=f"{begun.tokenizer.bos_token} $A", special_tokens=[(begun.tokenizer.bos_token, begin)]
    )
    begun.tokenizer.backend_tokenizer.post_processor = pieces
    with Engine(model, begun, kv_cache_bytes=2**22) as engine:
        own = processor.encode_text("What")
        assert list(engine.prepare_text("What").prompt.ids) == [begin, *own]
        assert list(engine.prepare_text(own).prompt.ids) == own


def test_what_nobody_waits_for_is_not_even_read(engine, monkeypatch):
    gone = threading.Event()
    gone.set()
    monkeypatch.setattr(engine._reader, "answer_ids", lambda *_: pytest.fail("a choice was read"))
    with pytest.raises(RuntimeError, match="nobody waits"):
        engine.grade(ask("Is there a duck?", "red"), ["A duck.", "No"], abandoned=gone)


def test_grading_says_what_it_took(engine):
    graded = engine.grade(ask("Is there a duck?", "red"), ["A duck.", "No"])
    again = engine.grade(ask("Is there a duck?", "red"), ["A duck.", "No"])
    assert graded.usage.image_tokens == 16
    assert graded.usage.completion_tokens == sum(len(score.tokens) for score in graded.scores)
    assert graded.usage.cached_tokens == 0
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


def test_pictures_of_a_crowd_go_through_the_tower_a_few_at_a_time(engine, loaded, monkeypatch):
    monkeypatch.setattr("sightline.engine.core.IMAGES_AT_ONCE", 2)
    sizes, encode = [], engine._core.runner.image_features
    monkeypatch.setattr(
        engine._core.runner, "image_features", lambda pixels: (sizes.append(len(pixels)), encode(pixels))[1]
    )
    asked = [ask("What is this?", colour) for colour in ("red", "blue", "green", "black", "white")]
    replies = engine.batch(asked, max_new_tokens=3)
    assert max(sizes) <= 2
    assert sum(sizes) == len(asked) == engine.stats["image_misses"] == engine.stats["images_encoded"]
    assert [reply.tokens for reply in replies] == [plain(loaded, one, 3) for one in asked]


def test_many_pictures_of_a_prompt_are_not_held_until_the_answer_is_over(engine, monkeypatch):
    messages = ask("How many?", "red", "blue")
    engine.chat(messages, max_new_tokens=1)  # their features are cached
    for most, held in ((1000, False), (2000, True)):  # they have some 1,500 pixels, either less than 1,000
        monkeypatch.setattr("sightline.engine.engine._LARGE", most)
        pictures = engine.prepare(messages).pictures.values()
        assert all((picture._prepare is not None) == held for picture in pictures)
