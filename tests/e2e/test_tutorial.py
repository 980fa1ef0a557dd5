"""The tutorial is true: its commands run one after the other, on fewer pictures and for fewer steps."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from sightline.cli import main

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]
SMALL = ["stages.instruct.samples=8", "train={batch_size: 4, workers: 0, eval_per_kind: 0, eval_rows: 4}"]


@pytest.mark.slow
def test_its_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="the tutorial's pictures come from scikit-learn")
    monkeypatch.chdir(tmp_path)
    ran = [_run(shlex.split(line, comments=True), monkeypatch) for line in COMMANDS]
    assert {"data check", "data show", "train finetune", "serve runs/finetune"} <= set(ran)
    assert (tmp_path / "runs" / "finetune" / "report.html").is_file()
    assert "digits/0788.png" in PAGE  # which the block in Python sends
    assert main(["ask", "digits/0788.png", "Is it even or odd?", "--model", "runs/finetune"]) == 0
    assert capsys.readouterr().out.strip()


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
    if rest[0] == "serve":  # it ends when it is told to; tests/serving starts it
        assert Path(rest[1], "model").is_dir()
        assert main(["serve", "--help"]) == 0
    else:
        assert main([*rest, *(SMALL if rest[0] == "train" else [])]) == 0
    return " ".join(rest[:2])


def test_every_command_of_it_is_one_that_the_slow_test_runs():
    programs = {line.split()[0] for line in COMMANDS}
    assert programs == {"pip", "python", "sightline"}
    assert any(line.startswith("sightline train finetune data=") for line in COMMANDS)
