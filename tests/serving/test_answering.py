"""The door to the engine: places are counted and given back, whatever way a request ends."""

import asyncio
import contextlib
import functools

import pytest

from sightline.engine.engine import Engine
from sightline.engine.request import SamplingParams
from sightline.serving.answering import Answering, ClientGone, Question, unless_gone
from sightline.serving.errors import APIError
from sightline.serving.settings import Limits

QUESTION = [{"role": "user", "content": "What is this?"}]
LONG = SamplingParams(max_new_tokens=90, logit_bias={2: -1000.0})
SHORT = SamplingParams(max_new_tokens=3)


@pytest.fixture
def engine(tiny):
    with Engine(*tiny, kv_cache_bytes=4 * 2**20, max_batch_size=2) as engine:
        yield engine


def answering(engine, queue=1, **heard):
    return Answering(engine, Limits(queue=queue), **heard)


def start(door, params, messages=QUESTION, rule=None, **options):
    """Answers to one conversation that is there already."""

    async def read():
        return Question([messages], rule)

    return door.start(params, read, **options)


async def grade(door, *asked):
    with door.place() as place:
        return await door.grade(place, QUESTION, *asked)


def slowly(engine, monkeypatch, seconds=0.02):
    """Steps that take their time, so that an answer is still under way when a test looks."""
    import time

    step = engine._core.step

    def slow():
        time.sleep(seconds)
        step()

    monkeypatch.setattr(engine._core, "step", slow)


def test_an_end_that_is_told_twice_ends_one_answer(engine):
    async def ask():
        async with await start(answering(engine), [SHORT] * 2) as choices:
            choices.listener(0)(None)
            choices._handles[0].result(timeout=10)
            choices.listener(0)(None)
            return await choices.replies()

    replies = asyncio.run(ask())
    assert [len(reply.tokens) for reply in replies] == [3, 3]


def test_pieces_of_all_answers_join_to_what_the_engine_says_alone(engine):
    async def ask():
        params = [SamplingParams(max_new_tokens=12, temperature=1.0, seed=seed) for seed in (1, 2, 3)]
        found = ["", "", ""]
        async with await start(answering(engine), params) as choices:
            async for index, piece in choices:
                found[index] += piece.text if piece else ""
            assert [choices.reply(index).text for index in range(3)] == found
        return params, found

    params, found = asyncio.run(ask())
    assert found == [engine.chat(QUESTION, one).text for one in params]


def test_one_more_than_there_are_places_is_refused_before_it_is_read(engine, monkeypatch):
    refused = []

    async def ask():
        door = answering(engine, queue=1, on_rejected=refused.append)
        async with await start(door, [LONG, LONG, LONG]):
            with pytest.raises(APIError) as error:
                await door.start([SHORT], lambda: pytest.fail("it was read"))
            with pytest.raises(APIError), door.place():
                pytest.fail("it was let in")
        return error.value

    error = asyncio.run(ask())
    assert (error.status, error.code) == (429, "queue_full")
    assert error.retry_after >= 1
    assert refused == ["queue", "queue"]


def test_one_that_is_read_has_its_place_already_and_gives_it_back_where_it_fails(engine):
    async def ask():
        door = answering(engine, queue=1)

        async def read():
            assert door.taken == 3
            raise APIError("it cannot be read")

        with pytest.raises(APIError, match="it cannot be read"):
            await door.start([SHORT] * 3, read)
        assert door.taken == 0
        with door.place(3) as place:
            place.share()
        assert door.taken == 3  # somebody works on it still
        place.leave()
        return door.taken

    assert asyncio.run(ask()) == 0


def test_more_than_there_are_places_for_is_no_reason_to_come_again(engine):
    async def ask():
        with pytest.raises(APIError) as error:
            await start(answering(engine, queue=1), [SHORT] * 4)
        return error.value

    error = asyncio.run(ask())
    assert (error.status, error.param, error.headers()["x-should-retry"]) == (400, "n", "false")


def test_answers_to_several_prompts_come_in_their_order(engine):
    prompts = ["A red", "What", "duck"]

    async def ask():
        async def read():
            return Question([engine.prepare_text(prompt) for prompt in prompts])

        params = [SHORT, SHORT.replace(temperature=1.5, seed=3)]
        async with await answering(engine, queue=9).start(params, read, prompts=3) as choices:
            return params, [reply.text for reply in await choices.replies()]

    params, texts = asyncio.run(ask())
    assert texts == [engine.submit(engine.prepare_text(p), one).result().text for p in prompts for one in params]


def test_one_answer_that_fails_ends_its_request_s_others(engine, monkeypatch):
    slowly(engine, monkeypatch)

    def failing(ids, scores):
        raise APIError("the grammar has come to its limit")

    async def ask():
        door, rules = answering(engine), iter([lambda ids, scores: scores, failing])
        with pytest.raises(APIError, match="come to its limit"):
            async with await start(door, [LONG, LONG], rule=lambda: next(rules)) as choices:
                await choices.replies()
        assert door.taken == 0
        for _ in range(200):
            if engine.load == (0, 0):
                break
            await asyncio.sleep(0.005)
        return engine.load

    assert asyncio.run(ask()) == (0, 0)


def test_a_step_that_fails_is_told_as_what_can_be_asked_again_and_counted(engine, monkeypatch):
    def explode(*_):
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr(engine._core.runner, "forward", explode)
    failed = []

    async def ask():
        door = answering(engine, on_failed=lambda: failed.append(1))
        with pytest.raises(APIError) as caught:
            async with await start(door, [SHORT]) as choices:
                await choices.replies()
        with pytest.raises(APIError) as graded:
            await grade(door, ["Yes", "No"])
        return [caught.value, graded.value]

    for error in asyncio.run(ask()):
        assert (error.status, error.code, error.headers()["x-should-retry"]) == (503, "engine", "true")
        assert "secret" not in error.message
    assert failed == [1]


def test_what_was_computed_for_one_who_left_is_counted(engine, monkeypatch):
    slowly(engine, monkeypatch)
    heard = []

    async def ask():
        door = answering(engine, on_answered=heard.append)
        async with await start(door, [LONG, LONG]) as choices:
            async for _ in choices:
                break
        for _ in range(200):
            if len(heard) == 2:
                break
            await asyncio.sleep(0.005)

    asyncio.run(ask())
    assert [reply.finish_reason for reply in heard] == ["cancelled", "cancelled"]
    assert sum(reply.usage.completion_tokens for reply in heard) >= 1
    assert sum(reply.usage.prompt_tokens > 0 for reply in heard) == 1  # the prompt of both, which was read once


def test_leaving_frees_the_places_and_the_batch(engine, monkeypatch):
    slowly(engine, monkeypatch)

    async def ask():
        door = answering(engine, queue=0)
        async with await start(door, [LONG, LONG]):
            assert door.taken == 2
        assert door.taken == 0
        steps = engine.stats["steps"]
        for _ in range(200):
            if engine.load == (0, 0):
                break
            await asyncio.sleep(0.005)
        assert engine.load == (0, 0)
        return engine.stats["steps"] - steps

    assert asyncio.run(ask()) <= 1


@pytest.mark.parametrize("wrong", [{"messages": QUESTION, "params": [SamplingParams(logit_bias={10**6: 1.0})]}])
def test_what_the_engine_refuses_is_a_400_and_takes_no_place(engine, wrong):
    async def ask():
        door = answering(engine)
        with pytest.raises(APIError) as error:
            await start(door, wrong["params"], wrong["messages"])
        return door.taken, error.value.status

    assert asyncio.run(ask()) == (0, 400)


def test_a_prompt_that_is_too_long_says_so_in_a_code(engine):
    async def ask():
        with pytest.raises(APIError) as error:
            await start(answering(engine), [SHORT], [{"role": "user", "content": "What? " * 200}])
        return error.value

    error = asyncio.run(ask())
    assert error.code == "context_length_exceeded"
    assert "sample" not in error.message


def test_a_librarys_error_is_not_passed_on(engine, monkeypatch):
    def fail(*_, **__):
        raise UnicodeDecodeError("utf-8", b"/secret/path", 0, 1, "no")

    monkeypatch.setattr(engine, "submit", fail)

    async def ask():
        with pytest.raises(APIError) as error:
            await start(answering(engine), [SHORT])
        return error.value

    assert "secret" not in asyncio.run(ask()).message


def test_a_rule_that_fails_ends_its_answer_and_no_other(engine):
    def failing(ids, scores):
        if ids.shape[1] > 22:
            raise APIError("the grammar has come to its limit", param="response_format")
        return scores

    async def ask():
        door = answering(engine)
        good = await start(door, [SamplingParams(max_new_tokens=20)])
        bad = await start(door, [SamplingParams(max_new_tokens=20)], rule=lambda: failing)
        async with good, bad:
            with pytest.raises(APIError, match="come to its limit"):
                await bad.replies()
            return (await good.replies())[0].text

    assert asyncio.run(ask()) == engine.chat(QUESTION, max_new_tokens=20).text


def test_draining_waits_for_what_is_under_way_and_takes_no_more(engine):
    async def ask():
        door = answering(engine)
        choices = await start(door, [SHORT])

        async def finish():
            async with choices:
                return await choices.replies()

        finishing = asyncio.create_task(finish())
        whole = await door.drain(30)
        with pytest.raises(APIError) as error:
            await start(door, [SHORT])
        return whole, (await finishing)[0].finish_reason, error.value.status

    assert asyncio.run(ask()) == (True, "length", 503)


def test_draining_cancels_what_takes_too_long(engine, monkeypatch):
    slowly(engine, monkeypatch)

    async def ask():
        door = answering(engine)
        async with await start(door, [LONG]) as choices:
            assert not await door.drain(0.05)
            return (await choices.replies())[0].finish_reason

    assert asyncio.run(ask()) == "cancelled"


def test_draining_cancels_what_is_still_being_read_too(engine, monkeypatch):
    async def ask():
        door, go_on = answering(engine), asyncio.Event()

        async def read():
            await go_on.wait()
            return Question([QUESTION])

        starting = asyncio.create_task(door.start([LONG], read))
        await asyncio.sleep(0)
        assert not await door.drain(0.02)
        go_on.set()
        async with await starting as choices:
            return (await choices.replies())[0].finish_reason

    assert asyncio.run(ask()) == "cancelled"


def test_grading_takes_a_place_and_gives_it_back(engine):
    async def ask():
        door = answering(engine)
        graded = await grade(door, ["yes", "no"])
        with pytest.raises(APIError, match="two choices are alike"):
            await grade(door, ["yes", "yes"])
        return graded, door.taken

    graded, taken = asyncio.run(ask())
    assert taken == 0
    assert sum(score.probability for score in graded.scores) == pytest.approx(1)


def test_who_goes_away_while_a_prompt_is_read_leaves_nothing_behind(engine, monkeypatch):
    slowly(engine, monkeypatch)
    read = engine.prepare

    def slow_read(*given):
        import time

        time.sleep(0.1)
        return read(*given)

    monkeypatch.setattr(engine, "prepare", slow_read)

    async def ask():
        door = answering(engine)
        starting = asyncio.create_task(start(door, [LONG]))
        await asyncio.sleep(0.03)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        assert door.taken == 0
        await asyncio.sleep(0.3)
        return engine.load

    assert asyncio.run(ask()) == (0, 0)


class Gone:
    """A request whose client goes away after a moment."""

    async def receive(self):
        await asyncio.sleep(0.02)
        return {"type": "http.disconnect"}


def test_work_ends_when_the_client_goes_away():
    ended = []

    async def work():
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    with pytest.raises(ClientGone):
        asyncio.run(unless_gone(Gone(), work()))
    assert ended == [True]


def test_work_that_is_done_first_is_what_comes_back():
    assert asyncio.run(unless_gone(Gone(), asyncio.sleep(0, "done"))) == "done"


def test_work_in_a_thread_gives_its_result(engine):
    async def ask():
        return await answering(engine).run(functools.partial(max, 1, 2))

    assert asyncio.run(ask()) == 2


def test_who_goes_away_ends_the_grading_and_its_place_is_free_when_it_is_over(engine, monkeypatch):
    slowly(engine, monkeypatch)

    async def ask():
        door = answering(engine)
        grading = asyncio.create_task(grade(door, [f"answer {number}" for number in range(40)]))
        await asyncio.sleep(0.3)
        grading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await grading
        for _ in range(300):
            if not door.taken:
                break
            await asyncio.sleep(0.01)
        assert door.taken == 0
        await asyncio.sleep(0.1)
        return engine.load

    assert asyncio.run(ask()) == (0, 0)


def test_grading_many_answers_leaves_places_in_the_batch_for_others(engine, monkeypatch):
    slowly(engine, monkeypatch, 0.005)
    waiting = []

    async def ask():
        grading = asyncio.create_task(grade(answering(engine), [f"answer {number}" for number in range(40)]))
        while not grading.done():
            waiting.append(sum(engine.load))
            await asyncio.sleep(0.005)
        return await grading

    assert len(asyncio.run(ask()).scores) == 40
    assert max(waiting) <= 9
