"""Ctrl-C and SIGTERM at any time of a run say what to do, and lose no look that the run would have taken."""

import io
import json
import signal

import pytest
from rich.console import Console

from sightline.cli import main
from sightline.training import loop
from sightline.training.looks import Look, Looks
from sightline.training.loop import Stopped, train
from sightline.training.recipe_file import save_recipe
from sightline.training.signals import interruptible

from .test_loop import stop_after

AFTER = {"align, step 2": 0.2, "align, step 4": 0.4, "at the end": 0.4}
BOTH = [signal.SIGINT, signal.SIGTERM]


def quiet():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def looked(make_recipe, monkeypatch):
    """A recipe of four steps that is looked at after each second one."""
    monkeypatch.setattr(Looks, "look", lambda self, what: Look(AFTER[what], None))
    world = {"world": {"languages": ["en"], "things": 4}}
    settings = {"eval_per_kind": 1, "eval_every": 2, "checkpoint_every": 100}
    return make_recipe(train=settings, stages=[{"kind": "align", "steps": 4}], data=world)


def figures(out):
    records = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [(one["step"], one.get("accuracy")) for one in records]


def signalled(monkeypatch, owner, name, *numbers, times=1):
    """Send signals whenever `name` is called, `times` times, before it does what it does."""
    original, left = getattr(owner, name), [numbers] * times

    def call(*given, **more):
        for number in left.pop() if left else ():
            signal.raise_signal(number)
        return original(*given, **more)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize("number", BOTH)
def test_before_the_first_step_a_line_says_to_begin_again(looked, tmp_path, monkeypatch, number, capsys):
    save_recipe(looked, tmp_path / "mine.yaml")
    with monkeypatch.context() as patch:
        signalled(patch, loop, "preflight", number)
        code = main(["train", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run")])
    assert code == 128 + number
    told = f"stopped by {number.name} before anything was saved. Begin again with the same command"
    assert told in capsys.readouterr().err
    assert train(looked, tmp_path / "run", console=quiet()).is_dir()


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("late", ["save_whole", "judge", "write_report"])
def test_after_the_last_step_a_line_says_to_go_on(looked, tmp_path, monkeypatch, number, late):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        signalled(patch, loop, late, number)
        with pytest.raises(Stopped, match=rf"by {number.name}; the newest .*step-000004\. Go on with --resume") as told:
            train(looked, tmp_path / "run", console=quiet())
    assert told.value.code == 128 + number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert train(looked, tmp_path / "run", resume=True, console=quiet()).is_dir()
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_during_a_look_ends_the_run_after_it(looked, tmp_path, monkeypatch, number):
    with monkeypatch.context() as patch:
        signalled(patch, Looks, "look", number)
        with pytest.raises(Stopped, match=r"saved .*step-000002") as told:
            train(looked, tmp_path / "run", console=quiet())
    assert told.value.code == (0 if number == signal.SIGINT else 143)
    assert figures(tmp_path / "run") == [(1, None), (2, 0.2)]
    taken = []
    monkeypatch.setattr(Looks, "look", lambda self, what: taken.append(what) or Look(0.4, None))
    train(looked, tmp_path / "run", resume=True, console=quiet())
    assert taken == ["align, step 4", "at the end"]


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_while_the_last_step_is_saved_ends_the_run_after_it(looked, tmp_path, monkeypatch, number):
    save = loop.save_checkpoint

    def save_last(folder, step, *given, **more):
        if step == 4:
            signal.raise_signal(number)
        return save(folder, step, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save_last)
        with pytest.raises(Stopped, match=rf"by {number.name}; saved .*step-000004\. Go on with --resume") as told:
            train(looked, tmp_path / "run", console=quiet())
    assert told.value.code == (0 if number == signal.SIGINT else 143)
    assert train(looked, tmp_path / "run", resume=True, console=quiet()).is_dir()


@pytest.mark.parametrize("steps", [2, 4])
def test_a_look_that_a_signal_has_left_out_is_taken_when_the_run_goes_on(looked, tmp_path, monkeypatch, steps):
    with monkeypatch.context() as patch:
        stop_after(patch, steps, signal.SIGTERM)
        with pytest.raises(Stopped, match=rf"step-00000{steps}"):
            train(looked, tmp_path / "run", console=quiet())
    assert figures(tmp_path / "run")[-1] == (steps, None)
    train(looked, tmp_path / "run", resume=True, console=quiet())
    assert figures(tmp_path / "run") == [(1, None), (2, 0.2), (3, None), (4, 0.4)]


def test_a_second_signal_does_not_wait(looked, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        signalled(patch, Looks, "look", signal.SIGINT, signal.SIGTERM)
        with pytest.raises(Stopped, match=r"stopped by SIGTERM before anything was saved") as told:
            train(looked, tmp_path / "run", console=quiet())
    assert told.value.code == 143
    assert figures(tmp_path / "run") == [(1, None)]


def test_what_was_interrupted_is_gone_when_a_run_is_stopped(tmp_path):
    """An error that it hangs on would keep its processes, and those the program's end."""
    with pytest.raises(Stopped) as caught, interruptible(tmp_path):
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.__context__.__traceback__ is None
