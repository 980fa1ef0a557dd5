"""The same records, made on many machines by Ray Data: `RayAnswers`.

Every worker opens the data and the model itself, so both, and the folder of the results, are at the same path on every
machine. Ranges of rows travel to the workers and records come back in order; only this process writes them down.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sightline.labelling.label import AHEAD, Job, OpenModel, records
from sightline.labelling.output import Record
from sightline.labelling.rows import open_rows

__all__ = ["RayAnswers", "Work"]


SPAN = 4  # batches that travel together; what is under way when a job is killed is done again


@dataclass(frozen=True)
class Work:
    """What a worker is told once. `rows` is how many there are."""

    job: Job
    rows: int
    open_model: Callable[[], OpenModel]
    batch_size: int


class Worker:
    """Holds the rows and the model, and answers spans of rows."""

    def __init__(self, work: Work):
        self.work = work
        self.rows = open_rows(work.job.data, skip=work.job.pictures)
        if len(self.rows) != work.rows:
            raise ValueError(f"{work.job.data} holds {len(self.rows)} rows on a worker, but {work.rows} at the start")
        self.engine = work.open_model().engine().__enter__()

    def __call__(self, span: dict[str, int]) -> list[dict[str, Any]]:
        ahead = AHEAD * self.work.batch_size
        found = records(self.rows, self.work.job, self.engine, span["start"], span["stop"], ahead)
        # As text, or Arrow would look for columns in it.
        return [{"row": one.row, "good": one.good, "line": json.dumps(one.line)} for one in found]


class RayAnswers:
    """Workers of a Ray cluster: the one that `ray.init` finds, else this machine as one.

    Args:
        work: what they are told.
        workers: how many; 0: one for each GPU of the cluster or, where there is none, for each machine.

    Raises:
        ImportError: ray is not installed.
    """

    def __init__(self, work: Work, workers: int = 0):
        try:
            import ray
            import ray.data
        except ImportError:
            raise ImportError("--ray needs Ray Data: pip install 'sightline[cluster]'") from None
        self.work = work
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        cores = [int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"]]
        self.workers = workers or gpus or len(cores)
        # On CPUs a worker takes its share of cores, less one a machine for those that feed it.
        share = max(1, (sum(cores) - len(cores)) // self.workers)
        self.needs: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": share}

    def identity(self) -> dict[str, str]:
        """The model's, as a worker sees it: `auto` may be another dtype there than here."""
        import ray

        open_model = self.work.open_model
        return ray.get(ray.remote(**self.needs)(lambda: open_model().identity()).remote())

    def records(self, start: int, stop: int) -> Iterator[Record]:
        """As `label.records`."""
        import ray.data

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        size = SPAN * self.work.batch_size
        spans = [{"start": at, "stop": min(at + size, stop)} for at in range(start, stop, size)]
        if not spans:
            return
        answered = ray.data.from_items(spans, override_num_blocks=len(spans)).flat_map(
            Worker,
            fn_constructor_args=(self.work,),
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(spans))),
            **self.needs,
        )
        for row in answered.iter_rows():
            yield Record(int(row["row"]), bool(row["good"]), json.loads(row["line"]))

    def close(self) -> None:
        if self._is_ours:
            import ray

            ray.shutdown()
