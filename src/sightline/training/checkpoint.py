"""Checkpoints: a folder that `sightline ask` takes as it is, plus what the trainer needs to go on.

A checkpoint is written beside its place, put on the disk and renamed into it, so it is whole or absent; a
manifest says what each file must hold, so damage is found before anything is loaded. Which step is worth
keeping is the loop's decision: this file knows steps and scores, not what they mean.
"""

from __future__ import annotations

import math
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sightline.manifest import MANIFEST, check_files, read_manifest, write_manifest

if TYPE_CHECKING:
    from sightline.nn.vlm import VLM
    from sightline.processor import VLMProcessor

__all__ = ["DROPPING", "checkpoints", "load_state", "newest_good", "save_checkpoint", "save_model", "verify"]

_STATE = "trainer.pt"
# `.old` is what a checkpoint of the same step replaced; a run killed in between leaves it as that step's only one.
_NAME = re.compile(r"step-(\d+)(\.old)?")
DROPPING = ".dropping-"  # how the name begins of what is being deleted
_LEFTOVERS = (".writing-*", f"{DROPPING}*")


def save_checkpoint(
    folder: Path,
    step: int,
    write_model: Callable[[Path], None],
    state: dict[str, Any],
    *,
    keep: int,
    score: float | None = None,
    best: int | None = None,
) -> Path:
    """Write `folder/step-NNNNNN`, then drop all but the last `keep` checkpoints and the one with the best score.

    Where `best` names a step, that one stays instead of the one with the best score.
    `write_model` writes the model's files into the folder it is given; `state` holds tensors, numbers, strings
    and containers of these. Scores are better when higher; a checkpoint without one does not compete. Nothing
    old is touched until the new checkpoint is whole on the disk.

    Raises:
        OSError: it could not be written (a full disk, say); the older checkpoints are as they were.
        ValueError: the score is not finite.
    """
    assert keep >= 1, keep
    if score is not None and not math.isfinite(score):
        raise ValueError(f"the score of step {step} is {score}, which cannot be compared: give a finite one or None")
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in (path for pattern in _LEFTOVERS for path in folder.glob(pattern)):
        shutil.rmtree(leftover)
    path = folder / f"step-{step:06d}"
    beside = folder / f".writing-{path.name}"
    try:
        _write(beside, step, write_model, state, score)
        _put_in_place(beside, path)
    except Exception as error:
        raise OSError(_not_written(path, beside, error)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # gone already where all went well
    _drop_old(path, keep, best)
    return path


def save_whole(
    folder: Path, write_model: Callable[[Path], None], remedy: str = "free some room and add --resume"
) -> None:
    """A model's folder of its own, written as a checkpoint's is: it replaces an older one when it is whole.

    Raises:
        OSError: it could not be written; an older one is as it was. `remedy` is what the message ends with.
    """
    beside, old = folder.with_name(f".writing-{folder.name}"), folder.with_name(f"{folder.name}.old")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(_doomed(old), ignore_errors=True)  # a kill may have left it
    try:
        beside.mkdir(parents=True)
        write_model(beside)
        _seal(beside, {})
        _put_in_place(beside, folder)
    except Exception as error:
        raise OSError(f"could not write {folder}: {_reason(error)}; {remedy}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if old.exists():
        _drop(old)


def save_model(folder: Path, model: VLM, processor: VLMProcessor) -> None:
    """The model and its processor, as `sightline.load` and transformers read them."""
    folder.mkdir(parents=True, exist_ok=True)
    # What a reload leaves behind would tell a resumed run's files from an uninterrupted one's.
    model.config.dtype = model.config.vision_config.dtype = model.dtype
    for trace in ("is_local", "local_files_only", "backend"):
        processor.tokenizer.init_kwargs.pop(trace, None)
    model.save_pretrained(folder, max_shard_size="14500KB")  # with its header below 15 MB
    processor.save_pretrained(folder)


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints that look whole, oldest first; `verify` says whether one is."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and _looks_whole(path)]
    return sorted(found, key=lambda path: (_step(path), not _is_replaced(path)))


def newest_good(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that verifies; `warn` is told of each damaged one that was skipped, and why."""
    for path in reversed(checkpoints(folder)):
        try:
            verify(path)
        except ValueError as error:
            warn(f"skipped the checkpoint {path.name}: {error}")
        else:
            return path
    return None


def verify(checkpoint: Path) -> None:
    """Check every file of a checkpoint, or of what `save_whole` wrote, against the manifest.

    Raises:
        ValueError: naming the first file that is missing or damaged.
    """
    check_files(checkpoint)


def load_state(checkpoint: Path, *, mapped: bool = False) -> dict[str, Any]:
    """The trainer's state as it was saved, on the CPU. It is for a checkpoint that verifies.

    Args:
        mapped: the tensors stay in the file, which must not be removed before they are gone.
    """
    return torch.load(checkpoint / _STATE, map_location="cpu", weights_only=True, mmap=mapped)


def _write(
    beside: Path, step: int, write_model: Callable[[Path], None], state: dict[str, Any], score: float | None
) -> None:
    """Write the files, then the manifest over them, and wait until the disk holds them."""
    beside.mkdir()
    write_model(beside)
    with (beside / _STATE).open("wb") as file:  # given a path, torch hides that the disk is full
        torch.save(state, file)
    _check_loads(beside / _STATE)
    _seal(beside, {"step": step, "score": score})


def _seal(beside: Path, facts: dict[str, Any]) -> None:
    """The manifest over everything in the folder, and all of it on the disk."""
    write_manifest(beside, facts)
    for path in (*beside.rglob("*"), beside):
        _sync(path)


def _check_loads(state: Path) -> None:
    """What could not be read back would only be found out by the run that has lost its process."""
    try:
        torch.load(state, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise TypeError("the state holds more than tensors, numbers, strings and containers of these") from error


def _put_in_place(beside: Path, path: Path) -> None:
    """Rename; a checkpoint of the same step steps aside first and still counts as one, so there always is one."""
    old = path.with_name(f"{path.name}.old")
    if path.exists():
        if old.exists():
            _drop(old)
        path.rename(old)
    try:
        beside.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    _sync(path.parent)
    _sync(path.parent.parent)  # the first checkpoint's folder is new, too


def _drop_old(saved: Path, keep: int, best: int | None) -> None:
    for path in checkpoints(saved.parent):
        if _is_replaced(path) and path.with_suffix("").exists():
            _drop(path)
    # A run that is at an earlier step than a checkpoint could not go on from it: that one goes first.
    found = sorted(checkpoints(saved.parent), key=lambda path: _step(path) <= _step(saved))
    scores = {path: score for path in found if (score := _score(path)) is not None}
    best_ones = [path for path in found if _step(path) == best] or sorted(scores, key=scores.__getitem__)[-1:]
    stay = {*found[-keep:], *best_ones}
    for path in found:
        if path not in stay:
            _drop(path)


def _drop(checkpoint: Path) -> None:
    """Delete, but never leave half of it under a checkpoint's name."""
    doomed = _doomed(checkpoint)
    checkpoint.rename(doomed)
    shutil.rmtree(doomed)


def _doomed(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{DROPPING}{checkpoint.name}")


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-").removesuffix(".old"))


def _is_replaced(checkpoint: Path) -> bool:
    return checkpoint.suffix == ".old"


def _looks_whole(path: Path) -> bool:
    # One of the two is enough: where the other was lost, `verify` says so.
    return (path / _STATE).is_file() or (path / MANIFEST).is_file()


def _score(checkpoint: Path) -> float | None:
    try:
        return read_manifest(checkpoint)["score"]
    except ValueError:
        return None  # a damaged checkpoint is no candidate for the best


def _sync(path: Path) -> None:
    """Wait until the disk holds a file's bytes, or a folder's names."""
    if path.is_dir() and os.name == "nt":  # opens no folders
        return
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _not_written(path: Path, beside: Path, error: Exception) -> str:
    """One line: what failed, how much room the next try needs, and what there is to go on from."""
    older, written = checkpoints(path.parent), _size(beside)
    before = _size(older[-1]) if older else 0
    needed = f"about {before / 1e6:.1f}" if before > written else f"more than {written / 1e6:.1f}"
    free = (shutil.disk_usage(path.parent).free + written) / 1e6
    left = f"the older ones are intact, the newest is {older[-1].name}" if older else "there is no older one"
    return f"could not write {path}: {_reason(error)}; it needs {needed} MB and {free:.1f} MB are free; {left}"


def _reason(error: BaseException) -> str:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    # torch reports a full disk as a position that it did not expect; the system's word for it is underneath.
    system = [one.strerror for one in causes if isinstance(one, OSError) and one.strerror]
    return (system or str(error).splitlines() or [type(error).__name__])[0]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
