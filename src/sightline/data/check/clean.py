"""A copy of the rows that are good: `write_clean`. What is copied from is never written to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sightline.data.check.report import Finding, Report
from sightline.data.conversation import ChatRow, Picture
from sightline.data.picture_files import file_of, write_once
from sightline.data.readers import Data
from sightline.data.readers.divided import Divided
from sightline.whole_file import check_new, new_folder

__all__ = ["write_clean"]

ROWS, DROPPED, IMAGES = "data.jsonl", "dropped.jsonl", "images"

_Place = Callable[[Picture, Path], str]  # what a row calls a picture, given the folder for copies


def write_clean(
    data: Data | Divided,
    report: Report,
    folder: Path,
    on_row: Callable[[], None] = lambda: None,
    copy_pictures: bool = True,
) -> int:
    """Write the rows of `data` that `report` finds neither bad nor repeated into `folder`; how many there are.

    They are rows of the chat format in `data.jsonl`, beside their pictures, copied as they are and named after their
    content; without `copy_pictures` those that are files are named where they lie. `dropped.jsonl` says of every row
    that is left out which it is, and why. Data that come divided stay so, in the folders `train` and `test`.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: no row is good, or none of one side.
    """
    check_new(folder)
    sides = {"": (data, 0, report.rows)}
    if isinstance(data, Divided):
        start = len(data.train)
        sides = {"train": (data.train, 0, start), "test": (data.held_out, start, report.rows)}
    dropped = report.bad.keys() | report.repeated
    for rows, first, end in sides.values():
        if sum(first <= row < end for row in dropped) == end - first:
            raise ValueError(f"no row of {rows.path} is good: there is nothing to write")
    place = _copied if copy_pictures else _named
    with new_folder(folder) as inside:
        return sum(
            _write_rows(rows, first, report, inside / name, on_row, place) for name, (rows, first, _) in sides.items()
        )


def _write_rows(
    data: Data | Divided, start: int, report: Report, folder: Path, on_row: Callable[[], None], place: _Place
) -> int:
    """As `write_clean`, of rows that the report counts from `start` on."""
    folder.mkdir(parents=True, exist_ok=True)
    written, told = 0, _told(report)
    # Half of a pair in a text of the row, or a name that is no Unicode, becomes JSON's own escape.
    how: Any = {"mode": "w", "encoding": "utf-8", "errors": "backslashreplace"}
    with (folder / ROWS).open(**how) as file, (folder / DROPPED).open(**how) as dropped:
        for number, (where, row) in enumerate(data.attempts(), start):
            if number in report.bad or number in report.repeated:
                dropped.writelines(_dumped(line) for line in _reasons(number, where, report, told))
            elif isinstance(row, ChatRow):
                file.write(_dumped(_line(row, folder / IMAGES, place)))
                written += 1
            on_row()
        for one in (file, dropped):
            one.flush()
            os.fsync(one.fileno())
    return written


def _dumped(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"


def _line(row: ChatRow, images: Path, place: _Place) -> dict[str, Any]:
    fields = {name: value for name, value in row.fields.items() if _is_json(value)}
    return {**fields, "messages": row.messages, "images": [place(picture, images) for picture in row.images]}


def _named(picture: Picture, images: Path) -> str:
    """Where the picture lies as it is; one that is no file of its own is copied."""
    if isinstance(picture, str) and picture[:5].lower() != "data:":
        return os.path.abspath(picture)
    return _copied(picture, images)


def _copied(picture: Picture, images: Path) -> str:
    """Where the picture lies now, relative to the folder of `images`; a data URI as it is."""
    ending = ""
    if isinstance(picture, str):
        if picture[:5].lower() == "data:":
            return picture
        ending, picture = Path(picture).suffix.lower(), Path(picture).read_bytes()
    path = file_of(picture, hashlib.sha256(picture).hexdigest(), images)
    if not path.suffix:  # some formats are only read by their name's ending
        path = path.with_suffix(ending)
    write_once(path, picture)
    return path.relative_to(images.parent).as_posix()


def _told(report: Report) -> dict[int, list[Finding]]:
    """By row, the findings that were kept, of rows that are left out."""
    told: dict[int, list[Finding]] = {}
    for one in report.findings:
        if one.row in report.bad or one.row in report.repeated:
            told.setdefault(one.row, []).append(one)
    return told


def _reasons(number: int, where: str, report: Report, told: dict[int, list[Finding]]) -> list[dict[str, Any]]:
    """Why a row is left out; of a row whose findings were not kept, as so many were like them, at least the kind."""
    found = [(one.kind, one.text) for one in told.get(number, ())]
    kind = report.bad.get(number, "repeated row")
    if kind not in {named for named, _ in found}:
        found.append((kind, f"one of {report.counts[kind]} of its kind"))
    return [{"row": number, "where": where, "problem": problem, "text": text} for problem, text in found]


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
