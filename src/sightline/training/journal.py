"""A run's log: one JSON line a step in `log.jsonl`, and the same numbers for TensorBoard where it is installed."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from sightline.whole_file import write_whole

__all__ = ["Journal", "read_log"]

Record = dict[str, Any]


class Journal:
    """Appends to the log of `folder`, from which what came after step `step` is dropped: it is taken again."""

    def __init__(self, folder: Path, step: int):
        self.path = folder / "log.jsonl"
        kept = [record for record in read_log(self.path) if record["step"] <= step]
        write_whole(self.path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", step)

    @property
    def draws(self) -> bool:
        """Whether TensorBoard gets the numbers, too."""
        return self._board is not None

    def write(self, record: Record) -> None:
        """Add one record; it has a `step`.

        Raises:
            OSError: it could not be written, a disk being full, say.
        """
        try:
            print(json.dumps(record), file=self._file, flush=True)
        except OSError as error:
            raise OSError(
                f"{self.path} could not be written: {error.strerror}; mend that and go on with --resume"
            ) from None
        self._draw(record, record["step"])

    def amend(self, figures: Record) -> None:
        """Add to the last record what was not known when it was written; nothing where there is none."""
        records = read_log(self.path)
        if not records:
            return
        records[-1] |= figures
        self._file.close()
        write_whole(self.path, "".join(json.dumps(record) + "\n" for record in records))
        self._file = self.path.open("a", encoding="utf-8")
        self._draw(figures, records[-1]["step"])

    def _draw(self, figures: Record, step: int) -> None:
        if self._board:
            for name, value in figures.items():
                if isinstance(value, (int, float)) and name != "step":
                    self._board.add_scalar(name, value, step)
                elif isinstance(value, list):  # one of each sparse layer
                    for layer, one in enumerate(value):
                        self._board.add_scalar(f"{name}/{layer}", one, step)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):  # what could not be written has been said
            self._file.close()
        if self._board:
            self._board.close()


def read_log(path: Path) -> list[Record]:
    """The records of a log; a last line that a killed run left torn is no record."""
    records: list[Record] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise ValueError(f"line {number} of {path} is damaged: move the file away to go on") from None
    return records


def _board(folder: Path, step: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)
