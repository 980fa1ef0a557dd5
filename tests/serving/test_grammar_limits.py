"""A grammar that is wrong or costs too much is refused in a line; trying it out keeps nobody waiting and no memory."""

import asyncio
import os
import signal
import threading

import numpy as np
import pytest

from sightline.serving import grammar_trial
from sightline.serving.errors import APIError
from sightline.serving.grammar import Grammars
from sightline.serving.settings import Limits

from .bystander import MOST_BYTES
from .compiling import compiled
from .peak_memory import bounded_memory


@pytest.fixture(autouse=True)
def memory():
    with bounded_memory(MOST_BYTES):
        yield


def nested(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


PATTERNS = [{"type": "string", "pattern": f"^.*x.{{{n}}}$"} for n in range(30)]  # their intersection is exponential
BAD = [
    ("regex", "(.{0,9999}){9999}", "too complex"),
    ("regex", "(((", "no regular expression: unclosed group"),
    ("regex", "a\\", "ends within an escape"),
    ("regex", "(?=a)b", "looks around or back"),
    ("regex", r"(a)\1", "looks around or back"),
    ("regex", "a{2,1}", "repetition count range"),
    ("regex", "[^\\s\\S]", "cannot be met by any text"),
    ("regex", "a" * 70_000, "has 70000 bytes, but this server takes 65536"),
    ("regex", "\ud800", "lone surrogate"),
    ("regex", 5, "is a regular expression: a string"),
    ("json_schema", nested(30_000), "nests deeper than the 64 levels"),
    ("json_schema", {"enum": [f"v{n}" for n in range(50_000)]}, "more than the 1000 enum values"),
    ("json_schema", {"properties": {f"p{n}": {} for n in range(300)}}, "more than the 256 properties"),
    ("json_schema", {"required": [f"p{n}" for n in range(300)]}, "more than the 256 required properties"),
    ("json_schema", {"$ref": "#"}, "cannot be met by any text"),
    ("json_schema", {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "cannot be met by any text"),
    ("json_schema", {"items": {"$ref": "http://127.0.0.1:9/a.json"}}, r"a \$ref to something outside"),
    ("json_schema", {"$ref": "file:///etc/passwd"}, r"a \$ref to something outside"),
    ("json_schema", {"$ref": "#/$defs/none"}, "not in the schema"),
    ("json_schema", {"$schema": "http://127.0.0.1:9/x", "type": "integer"}, "not in the schema"),
    ("json_schema", {"type": "goose"}, "the type goose, which does not exist"),
    ("json_schema", {"if": {}, "then": {}}, "uses if, then"),
    ("json_schema", {"type": "string", "pattern": "((("}, "unclosed group"),
    ("json_schema", {"minimum": 5, "maximum": 1, "type": "integer"}, "cannot be met"),
    ("json_schema", {"minimum": float("nan")}, "is not JSON"),
    ("json_schema", {"minimum": 10**5000}, "is not JSON"),
    ("json_schema", {"x-guidance": {"lenient": True}}, "uses x-guidance"),
    ("json_schema", [], "is a JSON Schema: an object"),
    ("json_schema", {"description": "x" * 70_000}, "this server takes 65536"),
    ("choice", [], "at least one string"),
    ("choice", "abc", "a list"),
    ("choice", ["a", 1], "a list of at least one string"),
    ("choice", ["a"] * 65, "has 65 choices, but this server takes 64"),
]


@pytest.mark.parametrize(("kind", "value", "message"), BAD, ids=[f"{kind}-{n}" for n, (kind, _, _) in enumerate(BAD)])
def test_a_bad_grammar_is_refused_in_one_line_that_names_the_field(grammars, kind, value, message):
    with pytest.raises(APIError, match=message) as caught:
        compiled(grammars, kind, value, "response_format.json_schema.schema")
    error = caught.value
    assert (error.status, error.param) == (400, "response_format.json_schema.schema")
    assert error.message.startswith("response_format.json_schema.schema ")
    assert "\n" not in error.message
    assert len(error.message) < 200
    assert compiled(grammars, "choice", ["a"], "choice")


def test_a_grammar_that_takes_minutes_to_compile_is_given_up_and_remembered(tiny, monkeypatch):
    model, processor = tiny
    grammars = Grammars(processor, [2], model.config.vocab_size, Limits())
    compiled(grammars, "choice", ["a"], "choice")
    grammars._trial.close()
    grammars._trial.seconds = 0.1
    for _ in range(2):
        with pytest.raises(APIError, match="too long to compile"):
            compiled(grammars, "json_schema", {"allOf": PATTERNS}, "response_format")
        # The second one is known: nothing is tried.
        monkeypatch.setattr(grammars._trial, "run", lambda source: pytest.fail("tried again"))
    monkeypatch.undo()
    grammars._trial.seconds = 10.0
    assert compiled(grammars, "choice", ["b"], "choice")
    grammars.close()
    assert grammars._trial._process is None


def test_a_grammar_that_a_busy_machine_did_not_try_is_refused_for_now(tiny, monkeypatch):
    grammars = Grammars(tiny[1], [2], tiny[0].config.vocab_size, Limits())
    compiled(grammars, "choice", ["a"], "choice")
    with monkeypatch.context() as patch:
        patch.setattr(grammars._trial, "seconds", 0.01)
        os.kill(grammars._trial._process.pid, signal.SIGSTOP)  # as though others had the whole processor
        with pytest.raises(APIError, match="the machine is too busy") as caught:
            compiled(grammars, "choice", ["b"], "choice")
    assert (caught.value.status, caught.value.retry_after) == (429, 5)
    assert compiled(grammars, "choice", ["b"], "choice")
    grammars.close()


def test_who_asks_for_the_grammar_that_is_being_tried_waits_for_it(tiny, monkeypatch):
    monkeypatch.setattr("sightline.serving.grammar.WAIT_SECONDS", 0.05)
    grammars = Grammars(tiny[1], [2], tiny[0].config.vocab_size, Limits())
    compiled(grammars, "choice", ["a"], "choice")
    started, go_on, tried = threading.Event(), threading.Event(), []
    monkeypatch.setattr(
        grammars._trial, "run", lambda source: (tried.append(source), started.set(), go_on.wait(20), "")[3]
    )

    async def ask():
        first = asyncio.create_task(grammars.compile("choice", ["b"], "choice"))
        await asyncio.to_thread(started.wait, 20)
        others = [asyncio.create_task(grammars.compile("choice", ["b"], "choice")) for _ in range(3)]
        await asyncio.sleep(0.2)
        go_on.set()
        return await asyncio.gather(first, *others)

    assert len(asyncio.run(ask())) == 4
    assert len(tried) == 1
    grammars.close()


def test_nobody_waits_long_behind_another_ones_grammar(tiny, monkeypatch):
    monkeypatch.setattr("sightline.serving.grammar.WAIT_SECONDS", 0.05)
    model, processor = tiny
    refused = []
    grammars = Grammars(processor, [2], model.config.vocab_size, Limits(), refused.append)
    known = compiled(grammars, "choice", ["a"], "choice")
    started, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(grammars._trial, "run", lambda source: (started.set(), go_on.wait(20), "")[2])

    async def ask():
        slow = asyncio.create_task(grammars.compile("choice", ["b"], "choice"))
        await asyncio.to_thread(started.wait, 20)
        with pytest.raises(APIError, match="try again") as caught:
            await grammars.compile("choice", ["c"], "choice")
        assert (caught.value.status, caught.value.headers()["x-should-retry"]) == (429, "true")
        assert callable(await grammars.compile("choice", ["a"], "choice"))  # the known one does not wait
        go_on.set()
        return await slow

    assert callable(asyncio.run(ask()))
    assert callable(known)
    assert refused == ["grammars"]
    grammars.close()


def test_the_turn_of_one_who_goes_away_is_over_when_the_trial_is(tiny, monkeypatch):
    model, processor = tiny
    grammars = Grammars(processor, [2], model.config.vocab_size, Limits())
    compiled(grammars, "choice", ["a"], "choice")
    order, go_on = [], threading.Event()
    monkeypatch.setattr(grammars._trial, "run", lambda source: (order.append(source), go_on.wait(20), "")[2])

    async def ask():
        gone = asyncio.create_task(grammars.compile("choice", ["b"], "choice"))
        while not order:
            await asyncio.sleep(0.001)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        waiting = asyncio.create_task(grammars.compile("choice", ["c"], "choice"))
        await asyncio.sleep(0.05)
        assert len(order) == 1  # one core at most is kept busy
        go_on.set()
        await waiting

    asyncio.run(ask())
    assert list(grammars._tried) == ['start: "a"', 'start: "b"', 'start: "c"']
    grammars.close()


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_schemas_in_a_row_leave_memory_flat(grammars, count):
    import psutil

    def compile_some(numbers):
        for n in numbers:
            compiled(grammars, "json_schema", {"type": "object", "properties": {f"p{n}": {"const": n}}}, "schema")

    compile_some(range(100))
    child = psutil.Process(grammars._trial._process.pid)
    before = [psutil.Process().memory_info().rss, child.memory_info().rss]
    compile_some(range(100, 100 + count))
    after = [psutil.Process().memory_info().rss, child.memory_info().rss]
    assert len(grammars._tried) == Limits().grammar_cache
    assert np.subtract(after, before).max() < 16 * 2**20


def test_what_is_asked_for_most_lately_is_kept(tiny):
    model, processor = tiny
    grammars = Grammars(processor, [2], model.config.vocab_size, Limits(grammar_cache=2))
    for text in ("a", "b", "a", "c"):
        compiled(grammars, "choice", [text], "choice")
    assert list(grammars._tried) == ['start: "a"', 'start: "c"']
    grammars.close()


def test_a_model_without_an_end_token_takes_no_grammar(tiny):
    grammars = Grammars(tiny[1], [], tiny[0].config.vocab_size, Limits())
    with pytest.raises(APIError, match="an end token, which this one has not"):
        compiled(grammars, "json_object", None, "response_format")


def test_the_process_that_tries_grammars_survives_nothing_it_should_not(tiny):
    """Killed from outside between two grammars, it is started again."""
    grammars = Grammars(tiny[1], [2], tiny[0].config.vocab_size, Limits())
    compiled(grammars, "choice", ["a"], "choice")
    grammars._trial._process.kill()
    assert compiled(grammars, "choice", ["b"], "choice")
    # In the middle of one, too: that says nothing about the grammar.
    trial = grammars._trial
    ask, killed = trial._ask, []

    def once_killed(process, what, seconds):
        if not killed:
            killed.append(process.pid)
            process.kill()
            process.wait()
        return ask(process, what, seconds)

    trial._ask = once_killed
    assert compiled(grammars, "choice", ["c"], "choice")
    assert killed
    # Closed in the middle of one, it stays closed.
    trial._ask = lambda process, what, seconds: (trial.close(), ask(process, what, seconds))[1]
    assert trial.run("{}") is None
    assert trial._process is None
    grammars.close()
    with pytest.raises(RuntimeError, match="does not start"):
        grammar_trial.Trial({"tokenizer": "no tokenizer"}).run("{}")


def test_the_process_that_tries_grammars_knows_no_key(tiny, monkeypatch):
    import psutil

    monkeypatch.setenv("SIGHTLINE_API_KEY", "secret")
    grammars = Grammars(tiny[1], [2], tiny[0].config.vocab_size, Limits())
    compiled(grammars, "choice", ["a"], "choice")
    environment = psutil.Process(grammars._trial._process.pid).environ()
    grammars.close()
    assert environment
    assert "SIGHTLINE_API_KEY" not in environment
