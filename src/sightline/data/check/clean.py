"""A copy of the rows that are good: `write_clean`. What is copied from is never written to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sightline.data.check.report import Report
from sightline.data.conversation import ChatRow, Picture
from sightline.data.picture_files import file_of, write_once
from sightline.data.readers import Data
from sightline.whole_file import LEFTOVER, write_whole

__all__ = ["check_new", "write_clean"]

ROWS, DROPPED, IMAGES = "data.jsonl", "dropped.jsonl", "images"


def check_new(folder: Path) -> None:
    """Raise a FileExistsError where `folder` is there already and not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{str(folder)!r} is there already: name a folder that is new or empty")


def write_clean(data: Data, report: Report, folder: Path, on_row: Callable[[], None] = lambda: None) -> int:
    """Write the rows of `data` that `report` finds neither bad nor repeated into `folder`; how many there are.

    They are rows of the chat format in `data.jsonl`, beside their pictures, copied as they are and named after their
    content. `dropped.jsonl` says which rows are left out, and why.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: no row is good.
    """
    check_new(folder)
    if len(report.bad | report.repeated) == report.rows:
        raise ValueError(f"no row of {report.path} is good: there is nothing to write")
    folder.mkdir(parents=True, exist_ok=True)
    written, beside = 0, folder / (LEFTOVER + ROWS)
    with beside.open("w", encoding="utf-8") as file:
        for number, (_, row) in enumerate(data.attempts()):
            if isinstance(row, ChatRow) and number not in report.bad and number not in report.repeated:
                file.write(json.dumps(_line(row, folder / IMAGES), ensure_ascii=False) + "\n")
                written += 1
            on_row()
    _write_dropped(report, folder / DROPPED)
    beside.replace(folder / ROWS)
    return written


def _line(row: ChatRow, images: Path) -> dict[str, Any]:
    fields = {name: value for name, value in row.fields.items() if _is_json(value)}
    return {**fields, "messages": row.messages, "images": [_copied(picture, images) for picture in row.images]}


def _copied(picture: Picture, images: Path) -> str:
    """Where the picture lies now, relative to the folder of `images`; a data URI as it is."""
    if isinstance(picture, str):
        if picture[:5].lower() == "data:":
            return picture
        picture = Path(picture).read_bytes()
    path = file_of(picture, hashlib.sha256(picture).hexdigest(), images)
    write_once(path, picture)
    return path.relative_to(images.parent).as_posix()


def _write_dropped(report: Report, path: Path) -> None:
    lines = [
        {"row": one.row, "where": one.where, "problem": one.kind, "text": one.text}
        for one in report.findings
        if one.row in report.bad or one.kind == "repeated row"
    ]
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
