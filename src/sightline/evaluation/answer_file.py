"""Answers on disk as they come, so that a killed evaluation goes on where it was.

`answers.jsonl` holds one answer a line, `settings.json` beside it what they are answers to. It does not know
models or questions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sightline.evaluation.results import Answer
from sightline.evaluation.tasks import Key
from sightline.whole_file import write_whole

__all__ = ["AnswerFile", "write_json"]

OUTPUTS = ("answers.jsonl", "results.json", "mistakes.html")  # of an evaluation


class AnswerFile:
    """The answers of one evaluation in the folder `out`, by key; what is added is on its way to the disk at once.

    Raises:
        FileExistsError: `out` holds answers that were given under other settings, or files that are no evaluation's.
        ValueError: a line, other than a torn last one, is damaged.
    """

    def __init__(self, out: Path, settings: dict[str, Any]):
        self.path = out / "answers.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        _claim(out / "settings.json", self.path, json.loads(json.dumps(settings)))
        _drop_torn_line(self.path)
        self._answers = {answer.key: answer for answer in _read(self.path)}

    def __contains__(self, key: Key) -> bool:
        return key in self._answers

    def __getitem__(self, key: Key) -> Answer:
        return self._answers[key]

    def __iter__(self) -> Iterator[Answer]:
        return iter(self._answers.values())

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, answers: Iterable[Answer]) -> None:
        """Keep answers: one line each, written together."""
        answers = list(answers)
        lines = "".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers)
        with self.path.open("ab") as file:
            file.write(lines.encode(errors="backslashreplace"))  # half of a pair becomes JSON's own escape
        self._answers |= {answer.key: answer for answer in answers}


def write_json(path: Path, content: Any) -> None:
    """Write `content`: whoever looks finds the old file or the new one, whole."""
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _claim(path: Path, answers: Path, settings: dict[str, Any]) -> None:
    if path.is_file():
        there = _settings_of(path)
        if differs := [key for key in {**there, **settings} if there.get(key) != settings.get(key)]:
            key = differs[0]
            raise FileExistsError(
                f"{path.parent} holds answers with {key}={there.get(key)!r}, not {settings.get(key)!r}: "
                "give another --out, or delete it"
            )
    elif found := [name for name in OUTPUTS if (path.parent / name).exists()]:
        raise FileExistsError(f"{path.parent / found[0]} is there without a settings.json: give another --out")
    else:
        write_json(path, settings)


def _settings_of(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ValueError(f"{path} is no JSON object: give another --out, or delete {path.parent}") from None


def _drop_torn_line(path: Path) -> None:
    """A line is whole when its line break is there; a kill in the middle of writing leaves at most one that is not."""
    if path.is_file():
        whole = path.read_bytes().rfind(b"\n") + 1
        os.truncate(path, whole)


def _read(path: Path) -> Iterator[Answer]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield Answer(**json.loads(line))
            except (ValueError, TypeError):
                raise ValueError(f"{path}, line {number} is no answer: delete the line to ask it again") from None
