"""The READMEs are true: their Python blocks and their commands run, and the demo's answer is right."""

import io
import re
import shlex
import sys
from pathlib import Path

import pytest

from sightline.cli import main

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh-CN.md")


def blocks(language):
    return [
        pytest.param(block, id=f"{name}-{number}")
        for name in READMES
        for number, block in enumerate(
            re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
        )
    ]


def commands():
    """Each command once: comments differ from language to language."""
    lines = [line for block in blocks("bash") for line in block.values[0].splitlines()]
    return sorted({shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))})


# What makes a documented training small enough to run here.
SMALL = [
    "train={batch_size: 1, workers: 0, eval_per_kind: 0}",
    "data.world={things: 2, questions: 1}",
]


def small(words):
    """What is added to a documented training. A recipe that chooses what it tunes has no stage for the tower."""
    kind = "instruct" if "finetune" in words else "joint"
    fresh = [] if "finetune" in words else ["tokenizer.texts=300"]
    return [*SMALL, *fresh, f"stages=[{{kind: {kind}, steps: 1}}]"]


@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_block_runs(block, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(block, "README", "exec"), {})
    if "print(" in block:
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("line", commands())
def test_a_command_runs(line, monkeypatch, tmp_path, capsys):
    program, *words = shlex.split(line)
    monkeypatch.chdir(ROOT)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert words[0] in targets
    elif program == ".venv/bin/python":
        assert (ROOT / words[0]).is_file()
    elif words[0] == "serve":  # it ends when it is told to; tests/serving starts it
        assert main(["serve", "--help"]) == 0
        assert not {word for word in words[1:] if word.startswith("--")} - set(capsys.readouterr().out.split())
    else:
        assert program == ".venv/bin/sightline"
        monkeypatch.setattr(sys, "stdin", io.StringIO("/quit\n"))
        added = [*small(words), "--out", str(tmp_path / "run")] if words[0] == "train" else []
        if "--out" in words:
            place = words.index("--out") + 1
            words[place] = str(tmp_path / Path(words[place]).name)
        if words[0] == "eval":  # of the model that is there, not of the one that the reader is about to train
            words[1], added = "sightline-tiny", ["--tasks", "name", "--per-kind", "1", "--out", str(tmp_path / "eval")]
        assert main([*words, *added]) == 0, capsys.readouterr().err


def test_the_demo_answers_rightly(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    recipe = re.search(r"^demo:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    _, *words = shlex.split(recipe[1].removeprefix("@"))
    assert main(words) == 0
    truth = (ROOT / "examples" / "scene.txt").read_text(encoding="utf-8")
    assert capsys.readouterr().out == truth
