"""What starting costs, in fresh processes, median of five: `python benchmarks/startup.py`.

`sightline ask` is compared with importing transformers' own model classes, which it cannot do without.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

EXAMPLE = str(Path(__file__).parent.parent / "examples" / "scene.png")
CASES = {
    "python": ["-c", "pass"],
    "import sightline": ["-c", "import sightline"],
    "sightline --help": ["-m", "sightline.cli", "--help"],
    "import transformers' CLIP and Llama": [
        "-c",
        "import transformers.models.clip.modeling_clip, transformers.models.llama.modeling_llama",
    ],
    "sightline ask (bad image)": ["-m", "sightline.cli", "ask", __file__, "What is this?"],
    "sightline ask": ["-m", "sightline.cli", "ask", EXAMPLE, "What is in the centre?"],
}


def seconds(arguments: list[str], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        times.append(time.perf_counter() - started)
        if done.returncode != (2 if __file__ in arguments else 0):  # 2: what is no picture
            raise RuntimeError(f"{arguments} failed: {done.stderr.decode()}")
    return statistics.median(times)


if __name__ == "__main__":
    measured = {}
    for name, arguments in CASES.items():
        measured[name] = seconds(arguments)
        print(f"{name:<38} {measured[name]:6.2f} s", flush=True)
    beyond = measured["sightline ask"] - measured["import transformers' CLIP and Llama"]
    print(f"{'ask beyond transformers imports':<38} {beyond:6.2f} s")
