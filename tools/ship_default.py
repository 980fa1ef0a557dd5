"""Put a trained model into the package as `sightline-tiny`: bfloat16, in shards small enough for a repository.

python tools/ship_default.py runs/tiny/model
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

import sightline
from sightline.interop.load import DEFAULT_MODEL
from sightline.training.checkpoint import save_model

ASSETS = Path(__file__).parent.parent / "src" / "sightline" / "assets"


def main(source: str) -> None:
    """Load `source`, cast it and write it beside the package's other assets, whole or not at all."""
    model, processor = sightline.load(source, device="cpu", dtype="float32")
    beside = ASSETS / f".{DEFAULT_MODEL}"
    shutil.rmtree(beside, ignore_errors=True)
    save_model(beside, model.to(torch.bfloat16), processor)
    shutil.rmtree(ASSETS / DEFAULT_MODEL, ignore_errors=True)
    beside.rename(ASSETS / DEFAULT_MODEL)
    for path in sorted((ASSETS / DEFAULT_MODEL).iterdir()):
        path.chmod(0o644)
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.name}")


if __name__ == "__main__":
    main(sys.argv[1])
