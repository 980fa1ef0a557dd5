"""The tutorial is true: its commands run one after the other, on fewer pictures and for fewer steps."""

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from sightline.cli import main

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
(CLIENT,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
ADDRESS = "127.0.0.1:8000"
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]
SMALL = ["stages.instruct.samples=8", "train={batch_size: 4, workers: 0, eval_per_kind: 0, eval_rows: 4}"]


@pytest.mark.slow
def test_its_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="the tutorial's pictures come from scikit-learn")
    monkeypatch.chdir(tmp_path)
    ran = [_run(shlex.split(line, comments=True), monkeypatch) for line in COMMANDS]
    assert {"data check", "data show", "train finetune", "serve runs/finetune"} <= set(ran)
    assert (tmp_path / "runs" / "finetune" / "report.html").is_file()
    capsys.readouterr()
    with served(next(line for line in COMMANDS if line.startswith("sightline serve"))) as address:
        ask(address)
    assert capsys.readouterr().out.strip()


@contextmanager
def served(command):
    """Where the page's server answers, which is started by the page's own command on a free port."""
    words = [sys.executable, "-m", "sightline.cli", *shlex.split(command)[1:], "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "SIGHTLINE_API_KEY"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()  # which comes when it answers
        (address,) = set(re.findall(r"127\.0\.0\.1:\d+", line))
        yield address
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()


def ask(address):
    """Run the page's client as it stands, but for the address."""
    assert CLIENT.count(ADDRESS) == 1
    exec(compile(CLIENT.replace(ADDRESS, address), "docs/tutorial.md", "exec"), {})


def _run(words, monkeypatch):
    """Run a line of the page; what was run, in short."""
    program, *rest = words
    if program == "pip":
        return "pip"
    if program == "python":
        # All of the pictures, as the page names one of them.
        monkeypatch.setattr(sys, "argv", rest)
        runpy.run_path(str(ROOT / rest[0]), run_name="__main__")
        return "python"
    assert program == "sightline"
    if rest[0] != "serve":  # that runs until it is told to end: `served`
        assert main([*rest, *(SMALL if rest[0] == "train" else [])]) == 0
    return " ".join(rest[:2])


@pytest.mark.slow
def test_its_client_is_answered_by_its_server(tmp_path, monkeypatch, tiny_model_folder, picture, capsys):
    (tmp_path / "runs" / "finetune").mkdir(parents=True)
    (tmp_path / "runs" / "finetune" / "model").symlink_to(tiny_model_folder)
    (tmp_path / "digits" / "test").mkdir(parents=True)
    (tmp_path / "digits" / "test" / "0530.png").write_bytes(Path(picture).read_bytes())
    monkeypatch.chdir(tmp_path)
    with served("sightline serve runs/finetune") as address:
        ask(address)
    assert capsys.readouterr().out


def test_every_command_of_it_is_one_that_the_slow_test_runs():
    programs = {line.split()[0] for line in COMMANDS}
    assert programs == {"pip", "python", "sightline"}
    assert any(line.startswith("sightline train finetune data=") for line in COMMANDS)
