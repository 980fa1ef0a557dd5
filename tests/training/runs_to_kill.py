"""A process for test_kill.py that imports everything once, then forks a run for each request and kills it.

Started as `python runs_to_kill.py RECIPE.json`. It reads requests, one JSON object a line: `out`, `resume` and
optionally `kill`, which is either `{"after": seconds, "seen": PATTERN}` (so long after the start, or after a path
below `out` was seen that matches) or `{"operation": n}` (at the n-th change to a file below `out`). It answers each
with a line: how the run `ended` (done, killed, failed), its `seconds` and its `operations`. It knows no test.
"""

import io
import json
import os
import signal
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
# Libraries start their threads when they are loaded, and a process with threads must not fork.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import torch
from rich.console import Console

from sightline.training import loop, rows
from sightline.training.batches import open_batches
from sightline.training.recipe import Recipe

PATIENCE = 120.0  # seconds until a run counts as hung
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


class Operations:
    """Counts the changes below `out` before each happens, and ends the process at the `last`-th.

    A file that was about to be written is left empty: that is what a kill between opening and writing leaves.
    TensorBoard's files are not counted: a thread of its own writes them, and nothing reads them again.
    """

    def __init__(self, out, last):
        self.out, self.last, self.names = str(out), last, []
        sys.addaudithook(self.see)

    def see(self, event, arguments):
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (not writes and event not in CHANGES) or isinstance(arguments[0], int):
            return
        path = os.fsdecode(arguments[0])
        within = self.out in path or event in ("os.remove", "os.rmdir")  # these two give names in an open folder
        if not within or "tensorboard" in path:
            return
        self.names.append(f"{event} {path}")
        if len(self.names) == self.last:
            if writes and arguments[2] & os.O_TRUNC:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
            os.kill(os.getpid(), signal.SIGKILL)


def run(recipe, out, resume, kill, answer):
    """The child: never returns."""
    try:
        operations = Operations(out, kill.get("operation"))
        loop.train(recipe, out, resume=resume, console=Console(file=io.StringIO()))
        answer.write(json.dumps(operations.names))
        answer.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def watch(child, out, kill):
    """Wait for the child's end, killing it when its time has come: what `waitpid` says."""
    started = time.perf_counter()
    due = started + kill["after"] if "after" in kill and "seen" not in kill else None
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        now = time.perf_counter()
        if due is None and "seen" in kill and any(out.glob(kill["seen"])):
            due = now + kill["after"]
        if now > min(due or now + 1, started + PATIENCE):
            os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is still its own
            return os.waitpid(child, 0)[1]
        time.sleep(0.0005)


def serve(recipe):
    for line in sys.stdin:
        request = json.loads(line)
        out, kill = Path(request["out"]), request.get("kill") or {}
        answer = out.with_suffix(".operations").open("w+")
        started = time.perf_counter()
        child = os.fork()
        if child == 0:
            run(recipe, out, request["resume"], kill, answer)
        status = watch(child, out, kill)
        seconds = time.perf_counter() - started
        answer.seek(0)
        ended = {0: "done", signal.SIGKILL: "killed"}.get(status, "failed")
        if ended == "killed" and seconds > PATIENCE:
            ended = "failed"
        print(json.dumps({"ended": ended, "seconds": seconds, "operations": json.loads(answer.read() or "[]")}))
        sys.stdout.flush()


def warm_up(recipe):
    """Load what a run loads on first use (drawings, fonts, a logger), without the threads that backward starts."""
    if find_spec("tensorboard"):
        import torch.utils.tensorboard  # noqa: F401
    rows.WORLD_SAMPLE = 8
    model, processor = loop.build(recipe)
    for stage in recipe.stages:
        open_batches(recipe, stage, processor, model.config.vision_config)[0]
    threads = Path("/proc/self/task")
    assert not threads.is_dir() or len(list(threads.iterdir())) == 1, "a process with threads must not fork"


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
    warm_up(given)
    serve(given)
    os._exit(0)  # tidying up after torch takes a second
