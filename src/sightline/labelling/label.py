"""The loop from rows to records: ask, keep several answers under way, and hand them on in the order of the rows.

Greedy answers, and sampled ones too, depend on nothing but the row and its number, so that it does not matter when a
job was stopped or who answers a row. Where records go is not known here.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sightline.engine.request import Reply, SamplingParams
from sightline.labelling import pictures
from sightline.labelling.output import Outcome, Record
from sightline.labelling.question import OURS, Asking, Question, question_of
from sightline.labelling.rows import Item, Rows

__all__ = ["Answers", "Job", "LoadedModel", "LocalAnswers", "OpenModel", "check", "records"]

AHEAD = 2  # batches that are read and asked, so that one long answer does not leave the engine idle


@dataclass(frozen=True)
class Job:
    """What is asked of every row of `data`. `pictures` is the folder for those that are no files of their own."""

    data: Path
    asking: Asking
    params: SamplingParams
    pictures: Path


class Handle(Protocol):
    def result(self) -> Reply: ...


class Engine(Protocol):
    def submit(self, messages: list[dict[str, Any]], params: SamplingParams) -> Handle: ...


class OpenModel(Protocol):
    """A model that is ready: who it is, and an engine for it that is closed after use."""

    def identity(self) -> dict[str, str]: ...

    def engine(self) -> AbstractContextManager[Engine]: ...


class LoadedModel:
    """A model as `sightline.load` takes it, with an engine that answers `batch_size` rows at a time.

    Raises:
        FileNotFoundError, ValueError: as `sightline.load`.
    """

    def __init__(self, name: str, device: str, dtype: str, quantize: str | None, batch_size: int):
        from sightline.interop.load import load

        self.model, self.processor = load(name, device, dtype, quantize)
        self.batch_size = batch_size

    def identity(self) -> dict[str, str]:
        """What decides the answers, beside the question: the device does not, nor does the model's place."""
        from sightline.evaluation.answering import fingerprint, preparation

        dtype = str(self.model.dtype).removeprefix("torch.")
        return {
            "weights": fingerprint(self.model),
            "preparation": preparation(self.model, self.processor),
            "dtype": dtype,
        }

    def engine(self) -> AbstractContextManager[Engine]:
        from sightline.engine.engine import Engine

        return Engine(self.model, self.processor, max_batch_size=self.batch_size)


class Answers(Protocol):
    """Who makes records: this process, or many."""

    def identity(self) -> dict[str, str]: ...

    def records(self, start: int, stop: int) -> Iterator[Record]: ...

    def close(self) -> None: ...


class LocalAnswers:
    """Records made in this process, `batch_size` rows at a time."""

    def __init__(self, rows: Rows, job: Job, model: OpenModel, batch_size: int):
        self.rows, self.job, self.model, self.batch_size = rows, job, model, batch_size

    def identity(self) -> dict[str, str]:
        return self.model.identity()

    def records(self, start: int, stop: int) -> Iterator[Record]:
        with self.model.engine() as engine:
            yield from records(self.rows, self.job, engine, start, stop, AHEAD * self.batch_size)

    def close(self) -> None:
        """Nothing is held between two calls of `records`."""


@dataclass(frozen=True)
class _Pending:
    """A row under way: what was asked and who knows the answer, or why nothing was."""

    row: int
    where: str
    asked: tuple[Question, dict[str, Any]] | None = None
    handle: Handle | None = None
    error: str = ""


def records(rows: Rows, job: Job, engine: Engine, start: int, stop: int, ahead: int) -> Iterator[Record]:
    """A record for each row from `start` up to `stop`, in order, while the next `ahead` rows are worked on.

    A row that cannot be read or asked, on which the engine fails alone, too, or to which the model says nothing, is a
    record that is not good.
    """
    waiting: deque[_Pending] = deque()
    for row, item in enumerate(rows.read(start, stop), start):
        waiting.append(_ask(row, item, rows, job, engine))
        if len(waiting) > ahead:
            yield _answer(waiting.popleft(), job, engine)
    while waiting:
        yield _answer(waiting.popleft(), job, engine)


def check(outcome: Outcome, rows: Rows, job: Job, on_row: Callable[[], None] = lambda: None) -> int:
    """How many rows are done. Every picture that was asked about is read again, and must be what it was.

    Raises:
        FileExistsError: a row is not the one that was answered.
        ValueError: as `Outcome.kept`.
    """
    items = rows.read(0, len(rows))
    for record in outcome.kept():
        item = next(items, None)
        if item is None or not _is_of(record, item, rows, job):
            where = f"{len(rows)} rows are fewer than" if item is None else f"{item.where} is not"
            raise FileExistsError(
                f"{where} what {outcome.places.out} holds answers to: the data was changed; give another --out, or "
                "add --restart to drop the answers"
            )
        on_row()
    return outcome.labelled + outcome.bad


def _is_of(record: Record, item: Item, rows: Rows, job: Job) -> bool:
    if not record.good:
        return record.line.get("source") == _utf8(item.where)
    try:
        now = json.loads(json.dumps(_line(record.row, item, question_of(item, job.asking, rows.folder), job)))
    except (ValueError, OSError):
        return False
    then, about = record.line, dict(record.line[OURS])
    about.pop("finish_reason", None)
    return now == {**then, "messages": (then.get("messages") or [])[:-1], OURS: about}


def _ask(row: int, item: Item, rows: Rows, job: Job, engine: Engine) -> _Pending:
    try:
        question = question_of(item, job.asking, rows.folder)
        line = _line(row, item, question, job)
        handle = engine.submit(question.with_pictures(), _params(job.params, row))
    except (ValueError, OSError) as error:
        # The record says which row it is; the engine numbers the samples of a call, and this is always its first.
        text = " ".join(str(error).split()).removeprefix(f"{item.where}: ").removeprefix("sample 0, ")
        return _Pending(row, item.where, error=text)
    return _Pending(row, item.where, (question, line), handle)


def _answer(pending: _Pending, job: Job, engine: Engine) -> Record:
    if pending.handle is None or pending.asked is None:
        return _bad(pending, pending.error)
    reply = _reply(pending.handle, pending.asked[0], _params(job.params, pending.row), engine)
    if isinstance(reply, Exception):
        return _bad(pending, f"the engine fails on it: {' '.join(str(reply).split()) or type(reply).__name__}")
    if not reply.text.strip():
        return _bad(pending, f"the model's answer is empty (it ended by {reply.finish_reason})")
    question, line = pending.asked
    pictures.keep(question.pictures, line[OURS]["sha256"], job.pictures)
    answer = {"role": "assistant", "content": [{"type": "text", "text": reply.text}]}
    about = {**line[OURS], "finish_reason": reply.finish_reason}
    return Record(pending.row, True, {**line, "messages": [*line["messages"], answer], OURS: about})


def _reply(handle: Handle, question: Question, params: SamplingParams, engine: Engine) -> Reply | Exception:
    """What the handle has. A step that fails is that of all who are in it, so a row is asked once more before it counts
    as the one to blame; an engine that is closed refuses to be asked, which ends the job.
    """
    try:
        return handle.result()
    except Exception:
        again = engine.submit(question.with_pictures(), params)
    try:
        return again.result()
    except Exception as error:
        return error


def _bad(pending: _Pending, error: str) -> Record:
    return Record(pending.row, False, {"row": pending.row, "source": _utf8(pending.where), "error": error})


def _line(row: int, item: Item, question: Question, job: Job) -> dict[str, Any]:
    """A row of the chat format that lacks its answer."""
    sha256 = [pictures.digest(picture) for picture in question.pictures]
    images = [pictures.source_of(*known, job.pictures) for known in zip(question.pictures, sha256, strict=True)]
    about = {"row": row, "source": _utf8(item.where), "sha256": sha256}
    return {"messages": question.messages, "images": images, **question.fields, OURS: about}


def _params(params: SamplingParams, row: int) -> SamplingParams:
    """Each row draws its own random numbers, and the same ones in every run."""
    if params.is_greedy:
        return params
    seed = hashlib.sha256(f"{params.seed} {row}".encode()).digest()
    return params.replace(seed=int.from_bytes(seed[:8], "big"))


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
