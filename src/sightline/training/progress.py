"""What a stage shows while it runs: step, loss, learning rate, rates, data wait, memory, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sightline.training.memory import memory_used
from sightline.training.peak import peak_flops
from sightline.training.stage import StageRun

__all__ = ["Display"]

SMOOTHING = 0.95
SPEED_PERIOD = 3600.0  # seconds of steps from which what is left is told: one may take minutes


class Display:
    """A progress bar for `run`, which costs `flops` operations a token (0: the share of the peak is not shown).

    Rates are moving averages, so that one slow step does not make them jump.
    """

    def __init__(self, console: Console, run: StageRun, flops: float = 0.0):
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TaskProgressColumn())
        self._progress = Progress(
            *columns,
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=SPEED_PERIOD,
        )
        self.run, self.flops = run, flops
        self._peak = peak_flops(run.device, run.dtype) if flops else 0.0
        self._averages: dict[str, float] = {}

    def __enter__(self) -> Display:
        self._progress.start()
        self._bar = self._progress.add_task(self.run.stage.name, total=1.0, note="")
        self._progress.update(self._bar, completed=self.run.progress)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, record: dict[str, Any]) -> None:
        """Take in one step's record."""
        self._progress.update(self._bar, completed=self.run.progress, note=self._note(record))

    def _note(self, record: dict[str, Any]) -> str:
        seconds = self._smooth("seconds", record["seconds"])
        wait = self._smooth("wait", record["data_wait"]) / seconds
        rate = self._smooth("positions", record["positions"]) / seconds
        parts = [
            f"step {self.run.step}",
            f"loss {self._smooth('loss', record['loss']):.3f}",
            f"lr {record['lr']:.2e}",
            f"{rate:,.0f} tokens/s",
            f"{self._smooth('pictures', record['pictures']) / seconds:.1f} pictures/s",
            f"data {wait:.0%}",
            f"{memory_used(self.run.device) / 2**30:.1f} GiB",
        ]
        if self._peak:
            parts.insert(5, f"{self.flops * rate / self._peak:.0%} of peak")
        if skipped := self.run.spikes.skipped:
            parts.append(f"{skipped} skipped")
        return "  ".join(parts)

    def _smooth(self, name: str, value: float) -> float:
        before = self._averages.get(name, value)
        self._averages[name] = SMOOTHING * before + (1 - SMOOTHING) * value
        return self._averages[name]
