"""What fails in the engine ends what it belongs to, and nobody waits for an answer that cannot come."""

import threading
import time

import pytest

from sightline.engine.engine import Engine, Handle
from sightline.engine.loop import BROKEN_AFTER, StepFailed

from .conversations import CONVERSATIONS, NEW, plain


@pytest.fixture
def engine(loaded):
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        yield engine


@pytest.mark.parametrize("at", ["a piece", "the end", "always"])
def test_a_listener_that_raises_ends_its_own_answer_alone(engine, loaded, at):
    heard = []

    def listen(piece):
        heard.append(piece)
        if at == "always" or (piece is None) == (at == "the end"):
            raise RuntimeError("this listener is broken")

    bad = engine.submit(CONVERSATIONS[2], max_new_tokens=NEW, listener=listen)
    other = engine.submit(CONVERSATIONS[1], max_new_tokens=NEW)
    assert other.result(timeout=10).tokens == plain(loaded, CONVERSATIONS[1])
    if at == "the end":
        assert bad.result(timeout=10).tokens == plain(loaded, CONVERSATIONS[2])
    else:
        with pytest.raises(RuntimeError, match="this listener is broken"):
            bad.result(timeout=10)
    assert engine.chat(CONVERSATIONS[3], max_new_tokens=NEW).tokens == plain(loaded, CONVERSATIONS[3])
    assert heard.count(None) == 1


def test_an_end_that_cannot_be_told_harms_no_other(engine, loaded, monkeypatch):
    exploded, close = [], Handle._close

    def explode_once(self):
        if not exploded:
            exploded.append(self)
            raise RuntimeError("this one is broken")
        close(self)

    monkeypatch.setattr(Handle, "_close", explode_once)
    bad = engine.submit(CONVERSATIONS[2], max_new_tokens=2)
    assert engine.chat(CONVERSATIONS[1], max_new_tokens=NEW).tokens == plain(loaded, CONVERSATIONS[1])
    assert exploded == [bad]


def test_the_end_is_told_once_though_it_comes_before_submit_returns(engine, monkeypatch):
    heard, post = [], engine._loop.submit

    def submit(add, fail):
        cancel = post(add, fail)
        while None not in heard:
            time.sleep(0.001)
        return cancel

    monkeypatch.setattr(engine._loop, "submit", submit)
    handle = engine.submit(CONVERSATIONS[1], max_new_tokens=2, listener=heard.append)
    engine.ping(10)
    assert heard.count(None) == 1
    assert handle._engine is None


@pytest.mark.parametrize("where", ["fail_all", "clear", "action"])
def test_an_engine_that_cannot_recover_is_closed_and_nobody_waits_for_it(loaded, monkeypatch, where):
    def explode(*_):
        raise RuntimeError("out of memory")

    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        begun, go_on = threading.Event(), threading.Event()

        def step():
            begun.set()
            go_on.wait(10)
            raise RuntimeError("out of memory")

        monkeypatch.setattr(engine._core, "step", step)
        under_way = engine.submit(CONVERSATIONS[1], max_new_tokens=3)
        assert begun.wait(10)
        if where == "action":
            monkeypatch.setattr(engine._core, "fail_all", lambda error: None)
            monkeypatch.setattr(engine._core, "cancel", explode)
            under_way.cancel()
        else:
            monkeypatch.setattr(engine._core, where, explode)
        asked_since = engine.submit(CONVERSATIONS[2], max_new_tokens=3)
        go_on.set()
        failed = "out of memory" if where == "clear" else "the engine failed and is closed"
        with pytest.raises(RuntimeError, match=failed):
            under_way.result(timeout=10)
        with pytest.raises(RuntimeError, match="the engine failed and is closed"):
            asked_since.result(timeout=10)
        with pytest.raises(RuntimeError, match="the engine is closed: make another one"):
            engine.ping(10)
        assert engine.is_broken


@pytest.mark.parametrize("wrong", [-1, 9999])
def test_a_token_that_does_not_exist_is_refused_and_fails_no_other(engine, loaded, wrong):
    other = engine.submit(CONVERSATIONS[1], max_new_tokens=NEW)
    with pytest.raises(ValueError, match=f"the prompt has the token {wrong}, but there are 0 to "):
        engine.submit(engine.prepare_text([3, wrong, 4]))
    assert other.result(timeout=10).tokens == plain(loaded, CONVERSATIONS[1])


def test_a_prompt_of_nothing_is_refused(engine):
    with pytest.raises(ValueError, match="the prompt is empty"):
        engine.submit(engine.prepare_text([]))


def test_a_step_that_fails_is_told_to_all_and_the_next_request_is_answered(engine, monkeypatch, loaded):
    def explode(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine._core.runner, "forward", explode)
        handles = [engine.submit(messages, max_new_tokens=3) for messages in CONVERSATIONS[:3]]
        for handle in handles:
            with pytest.raises(RuntimeError, match="out of memory"):
                handle.result(timeout=10)
    reply = engine.chat(CONVERSATIONS[1], max_new_tokens=NEW)
    assert reply.tokens == plain(loaded, CONVERSATIONS[1])


def test_steps_that_fail_one_after_the_other_are_a_broken_engine_until_one_works(engine, monkeypatch, loaded):
    def explode(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine._core.runner, "forward", explode)
        for _ in range(BROKEN_AFTER):
            assert not engine.is_broken
            with pytest.raises(StepFailed, match="a step of the engine failed: out of memory"):
                engine.chat(CONVERSATIONS[1], max_new_tokens=3)
        engine.ping(10)  # for which there is nothing to compute
        assert engine.is_broken
    assert engine.chat(CONVERSATIONS[1], max_new_tokens=NEW).tokens == plain(loaded, CONVERSATIONS[1])
    assert not engine.is_broken


def test_a_cancel_that_comes_with_a_failing_step_ends_nothing_but_its_job(engine, monkeypatch, loaded):
    asked, failing = threading.Event(), threading.Event()

    def explode(*_):
        asked.set()
        failing.wait(10)
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine._core.runner, "forward", explode)
        handle = engine.submit(CONVERSATIONS[1], max_new_tokens=3)
        asked.wait(10)
        handle.cancel()
        failing.set()
        with pytest.raises(RuntimeError, match="out of memory"):
            handle.result(timeout=10)
    assert engine.chat(CONVERSATIONS[1], max_new_tokens=NEW).tokens == plain(loaded, CONVERSATIONS[1])
