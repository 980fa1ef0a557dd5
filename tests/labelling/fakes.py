"""A model that answers with what it was asked, without a network, and a job over it as the command runs one.

As a program, `python fakes.py OPTIONS` (JSON) runs a job and prints how many changes it made to files; `kill` says at
which of them the process dies, and how much of it is done if it is a write.
"""

import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sightline.engine.request import Reply, SamplingParams, Timings, Usage
from sightline.images import open_image, to_rgb
from sightline.labelling.label import Job, LocalAnswers, check
from sightline.labelling.output import Outcome, Places
from sightline.labelling.question import Asking
from sightline.labelling.rows import open_rows


class FakeEngine:
    """Says the last turn's words and the colours of its pictures. It is asked many things before it answers one."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.asked, self.under_way, self.most, self.closed = [], 0, 0, False

    def submit(self, messages, params):
        parts = [part for message in messages for part in message["content"]]
        colours = [to_rgb(open_image(part["image"])).getpixel((0, 0)) for part in parts if part["type"] == "image"]
        words = "".join(part["text"] for part in messages[-1]["content"] if part["type"] == "text")
        self.asked.append(messages)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        text = "" if words == "Say nothing." else f"{words} {colours} {params.seed}"
        return FakeHandle(self, text, "length" if words == "Go on." else "stop")


class FakeHandle:
    def __init__(self, engine, text, finish_reason):
        self.engine, self.text, self.finish_reason = engine, text, finish_reason

    def result(self):
        time.sleep(self.engine.seconds)
        self.engine.under_way -= 1
        return Reply(self.text, (), self.finish_reason, Usage(), Timings())


class FakeModel:
    def __init__(self, name="fake", seconds=0.0):
        self.name, self.seconds, self.last_engine = name, seconds, None

    def identity(self):
        return {"weights": self.name, "dtype": "float32"}

    @contextmanager
    def engine(self):
        self.last_engine = FakeEngine(self.seconds)
        yield self.last_engine
        self.last_engine.closed = True


class Run:
    """One job from its beginning to its end; what it left is in its attributes."""

    def __init__(
        self, data, out, prompt="What?", limit=None, restart=False, model=("fake",), seed=None, workers=None, **ask
    ):
        self.places = Places(Path(out))
        rows = open_rows(data, skip=self.places.pictures)
        params = SamplingParams(temperature=0.0 if seed is None else 1.0, seed=seed)
        job = Job(Path(data), Asking(prompt, **ask), params, self.places.pictures)
        self.model = FakeModel(*model)
        answers = LocalAnswers(rows, job, self.model, batch_size=2)
        if workers:
            from sightline.labelling.on_ray import RayAnswers, Work

            answers = RayAnswers(Work(job, len(rows), partial(FakeModel, *model), batch_size=2), workers)
        with Outcome(self.places) as outcome:
            outcome.claim({"prompt": prompt, **answers.identity()}, restart)
            self.found = check(outcome, rows, job)
            for record in answers.records(self.found, min(len(rows), limit or len(rows))):
                outcome.add(record)
        self.labelled, self.bad, self.cut = outcome.labelled, outcome.bad, outcome.cut

    @property
    def rows(self):
        return lines(self.places.out)

    @property
    def bad_rows(self):
        return lines(self.places.bad)

    @property
    def answers(self):
        return [row["messages"][-1]["content"][0]["text"] for row in self.rows]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


class Changes:
    """Counts writes, renames and waits for the disk, and ends the process at the `last`-th."""

    def __init__(self, last=0, share=0.0):
        self.count, self.last, self.share = 0, last, share
        self._write = os.write
        os.write = self.write
        os.fsync, Path.replace = self.before(os.fsync), self.before(Path.replace)

    def before(self, function):
        def call(*arguments):
            if self.is_last():
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return call

    def write(self, file, data):
        if self.is_last():
            self._write(file, data[: int(len(data) * self.share)])
            os.kill(os.getpid(), signal.SIGKILL)
        return self._write(file, data)

    def is_last(self):
        self.count += 1
        return self.count == self.last


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    changes = Changes(*options.pop("kill", ()))
    Run(**options)
    print(changes.count)
