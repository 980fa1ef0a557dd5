"""A run: build or reload, go through the stages, save, log and show; a folder that answers at its end.

Everything that decides the result is in the recipe. The loop saves and prints; it does not choose.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.sole_writer import LOCK, sole_writer
from sightline.training.batches import RegionBatches, StageBatches
from sightline.training.build import build, reload
from sightline.training.checkpoint import (
    DROPPING,
    checkpoints,
    load_state,
    newest_good,
    save_checkpoint,
    save_model,
    save_whole,
    verify,
)
from sightline.training.fingerprints import check_same_files, fingerprints
from sightline.training.holdout import sides_of_run
from sightline.training.journal import Journal, read_log
from sightline.training.judging import judge
from sightline.training.looks import Look, Looks
from sightline.training.lora import adapter_state, load_adapter_state, without_adapters, write_merged
from sightline.training.preflight import StageReport, preflight
from sightline.training.preflight_page import show
from sightline.training.progress import Display
from sightline.training.put_back import put_back
from sightline.training.recipe import Recipe, Stage
from sightline.training.recipe_file import changes, check_same_run, is_saved_recipe, load_recipe, save_recipe
from sightline.training.report import write_report
from sightline.training.rows import count_rows
from sightline.training.settling import settled
from sightline.training.signals import Finishing, Stopped, interruptible
from sightline.training.stage import StageRun, place_of, share_done
from sightline.training.stopping import Stopping
from sightline.whole_file import LEFTOVER

__all__ = ["Stopped", "train"]


def train(recipe: Recipe, out: Path, *, resume: bool = False, console: Console | None = None) -> Path:
    """Run a recipe; the model lands in `out/model`, whose path is returned.

    Raises:
        Stopped: SIGINT or SIGTERM came; a step that was under way was finished and saved, unless a second one came.
        FileExistsError: `out` holds a run and `resume` is off, or another process runs there: nothing is overwritten.
        FileNotFoundError: `resume` is on and there is no whole checkpoint.
        ValueError: the run to resume builds another model or sees other data.
        FloatingPointError: a loss or gradient is not finite; the weights are untouched.
    """
    _check_place(out, resume)  # before anything is written there
    out.mkdir(parents=True, exist_ok=True)
    with sole_writer(out), interruptible(out / "checkpoints"):
        return _train(recipe, out, resume, console or Console(stderr=True))


def _train(recipe: Recipe, out: Path, resume: bool, console: Console) -> Path:
    _check_place(out, resume)  # another process may have begun meanwhile
    checkpoint = _newest(out, console) if resume else None
    # Averages of weights would lie in memory beside those that the preflight makes.
    state = load_state(checkpoint, mapped=True) if checkpoint else None
    if state:
        recipe = settled(recipe, out / "recipe.yaml")
        saved = load_recipe(out / "recipe.yaml")
        check_same_run(recipe, saved, state["stage"])
        for line in changes(recipe, saved):
            console.print(f"changed: {line}", soft_wrap=True, highlight=False, markup=False)
        _divide(recipe, console)
    else:
        _divide(recipe, console)
        recipe = settled(recipe)
    transformers.utils.logging.disable_progress_bar()
    model, processor = build(recipe) if checkpoint is None else _reload(recipe, out, checkpoint, state or {})
    run = _Run(recipe, model, processor, out, console)
    if state:
        run.check_resumable(state)
    run.rehearse(state["stage"] if state else 0, known=state["files"] if state else ())
    save_recipe(recipe, out / "recipe.yaml")  # now that it can be run: a resume allows no other
    if state is None:
        _keep_base(recipe, out, model, processor)
        run.looks.remember()
    del state
    run.through(load_state(checkpoint) if checkpoint else None)
    save_whole(out / "model", lambda folder: write_merged(model, folder, processor))
    console.print(f"done: {out / 'model'} (try: sightline ask IMAGE QUESTION --model {out / 'model'})", soft_wrap=True)
    console.print(f"what was learned: {run.report()}", soft_wrap=True)
    return out / "model"


def _newest(out: Path, console: Console) -> Path:
    """The checkpoint to go on from."""
    folder = out / "checkpoints"
    found = newest_good(folder, lambda line: console.print(f"warning: {line}", soft_wrap=True))
    if found is None:
        raise FileNotFoundError(f"there is no whole checkpoint to resume in {folder}: give another --out")
    return found


def _check_place(out: Path, resume: bool) -> None:
    """Raise a FileNotFoundError or FileExistsError where the place is not fit for the run."""
    begun = bool(checkpoints(out / "checkpoints"))
    if resume:
        if not begun:
            raise FileNotFoundError(
                f"there is no whole checkpoint to resume in {out / 'checkpoints'}: start it without --resume"
            )
        return
    if begun:
        raise FileExistsError(f"{out} already holds a run: add --resume to go on, or give another --out")
    # What a run leaves that ended before its first checkpoint may be begun anew.
    known = {"recipe.yaml", "log.jsonl", "checkpoints", "tensorboard", "base", "base.old", "first_answers.json"}
    there = out.iterdir() if out.exists() else ()
    left = {path.name for path in there if not path.name.startswith((LEFTOVER, LOCK, DROPPING))}
    if left - known or (left - {"checkpoints"} and not is_saved_recipe(out / "recipe.yaml")):
        raise FileExistsError(f"{out} is not empty and no run that could go on: give another --out")


def _divide(recipe: Recipe, console: Console) -> None:
    """Open the files, and say of each what is learned from and what is held out; pictures are compared for that."""
    if not any(recipe.data_of(stage).files for stage in recipe.stages):
        return
    with Progress(TextColumn("comparing pictures"), MofNCompleteColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("", total=None)
        sides = sides_of_run(recipe, lambda: progress.advance(bar))
    for one in sides:
        console.print(f"data: {one}", soft_wrap=True, highlight=False, markup=False)


def _keep_base(recipe: Recipe, out: Path, model: VLM, processor: VLMProcessor) -> None:
    """With LoRA, the weights that no step changes are kept once, beside the checkpoints."""
    if recipe.model.lora:
        again = "free some room and start again"
        save_whole(out / "base", lambda folder: save_model(folder, without_adapters(model), processor), again)


def _reload(recipe: Recipe, out: Path, checkpoint: Path, state: dict[str, Any]) -> tuple[VLM, VLMProcessor]:
    check_same_files(recipe, state["files"])
    if recipe.model.lora is None:
        return reload(recipe, checkpoint)
    verify(out / "base")
    model, processor = reload(recipe, out / "base")
    load_adapter_state(model, state["adapters"])
    return model, processor


class _Run:
    """One run's moving parts."""

    def __init__(self, recipe: Recipe, model: VLM, processor: VLMProcessor, out: Path, console: Console):
        self.recipe, self.processor, self.out, self.console = recipe, processor, out, console
        self.device, self.dtype = place_of(recipe)
        self.model: VLM = torch.nn.Module.to(model, self.device)
        self.step = 0
        self.flops: dict[str, float] = {}
        self.files = fingerprints(recipe)
        self.looks = Looks(recipe, self.model, processor, console, out)
        self.stoppings = {
            stage.name: Stopping(rule)
            for stage in recipe.stages
            if (rule := recipe.optimisation_of(stage).early_stopping)
            and (self.looks.loss if rule.by == "loss" else self.looks.held_out)
            and not stage.reads_regions
        }
        self.signals = Finishing()
        self.looked: int | None = None  # the last step after which the model was looked at

        if not self.stoppings and any(recipe.optimisation_of(stage).early_stopping for stage in recipe.stages):
            console.print("warning: nothing is held out that could be judged, so no stage stops early", soft_wrap=True)

    def check_resumable(self, state: dict[str, Any]) -> None:
        """Raise a ValueError where the stage to go on with has ended with older weights, and is made longer."""
        stage = self.recipe.stages[state["stage"]]
        stopping, saved = self.stoppings.get(stage.name), state.get("stoppings", {}).get(stage.name)
        if stopping is None or saved is None:
            return
        stopping.load_state_dict(saved)
        done = share_done(stage, state["stage_step"], state["samples"], state["tokens"], state["seconds"])
        if stopping.is_behind and done < 1.0:
            raise ValueError(
                f"stage {stage.name} has ended with its weights of step {stopping.best_step}, so it cannot be made "
                "longer: give another --out"
            )

    def rehearse(self, first: int, known: Collection[str] = ()) -> None:
        """The preflight of the stages from number `first` on, before the next step of any; `known` were checked."""
        for stage in self.recipe.stages[first:]:
            run = self._stage(stage)
            if stage.name in known and isinstance(run.data, StageBatches):
                run.data.checks_rows = False  # they are the bytes that were read when the run began
            report = self._preflight(run)
            show(report, run, self.console)
            self.flops[stage.name] = report.flops
        # Rehearsing a later stage must not leave parts of it switched on, or memory taken.
        self.model.zero_grad(set_to_none=True)

    def _preflight(self, run: StageRun) -> StageReport:
        if isinstance(run.data, RegionBatches):
            return preflight(run)
        with Progress(console=self.console, transient=True) as progress:
            bar = progress.add_task(f"{run.stage.name}: reading rows", total=count_rows(run.data))
            return preflight(run, lambda read: progress.advance(bar, read))

    def _stage(self, stage: Stage) -> StageRun:
        return StageRun(self.recipe, stage, self.model, self.processor, self.device, self.dtype)

    def through(self, state: dict[str, Any] | None) -> None:
        """All stages from the beginning, or from where `state` was taken."""
        first = state["stage"] if state else 0
        self.step = state["step"] if state else 0
        self.looked = state.get("looked", self.step) if state else None
        for name, saved in (state.get("stoppings", {}) if state else {}).items():
            if name in self.stoppings:
                self.stoppings[name].load_state_dict(saved)
        with Journal(self.out, self.step) as journal, self.signals:
            if not journal.draws:
                self.console.print("log.jsonl alone has the curves: TensorBoard, which draws them, is not installed")
            for number, stage in enumerate(self.recipe.stages[first:]):
                if number:  # what was changed meanwhile would be read anew, and divided otherwise
                    check_same_files(self.recipe, self.files)
                run = self._stage(stage)
                if state:
                    run.load_state_dict(state)
                    state = None
                    self._catch_up(run, journal)
                self._take(run, journal)
            if self.signals.number:  # while the last step was saved, or a look was taken that had been left out
                raise Stopped.after_step(self.signals.number, checkpoints(self.out / "checkpoints")[-1])

    def _take(self, run: StageRun, journal: Journal) -> None:
        stopping = self.stoppings.get(run.stage.name)
        if run.progress >= 1.0 or (stopping and stopping.over):
            return
        with Display(self.console, run, self.flops.get(run.stage.name, 0.0)) as display:
            for record in self._steps(run):
                self.step += 1
                display.show(record)
                if self._after_step(run, stopping, record, journal):
                    return

    def _steps(self, run: StageRun) -> Iterator[dict[str, Any]]:
        """A stage's steps; where the numbers ran away, the error says what there is to go on from."""
        try:
            yield from run.steps()
        except FloatingPointError as error:
            saved = checkpoints(self.out / "checkpoints")
            rates = f"stages.{run.stage.name}.train.lr, and .muon_lr where matrices have Muon"
            way_on = f"; --resume goes on from {saved[-1].name}, with lower rates, say ({rates})" if saved else ""
            raise FloatingPointError(f"{error}{way_on}") from error

    def _after_step(self, run: StageRun, stopping: Stopping | None, record: dict[str, Any], journal: Journal) -> bool:
        """Look, log and save where it is time: whether the stage is over.

        Raises:
            Stopped: a signal has come.
        """
        over = run.progress >= 1.0
        if over:
            run.end()
        started = time.perf_counter()
        look = None if self.signals.number else self._look(run, over)
        looked = {} if look is None else {**_figures(look), "look_seconds": time.perf_counter() - started}
        journal.write({"step": self.step, "stage": run.stage.name, "stage_step": run.step, **record, **looked})
        if look is not None and stopping is not None:
            over = self._weigh(run, stopping, look, over)
        stopped_by = self.signals.number  # while it was looked at, too
        if over or stopped_by or look is not None or self.step % self.recipe.train.checkpoint_every == 0:
            path = self._save(run, look)
        if stopped_by:
            raise Stopped.after_step(stopped_by, path)
        return over

    def _look(self, run: StageRun, over: bool) -> Look | None:
        """What the model makes of the questions where it is time, in a stage after which it can answer."""
        if not self._is_due(run, over):
            return None
        look = self.looks.look(f"{run.stage.name}, step {run.step}")
        self.looked = self.step
        return look

    def _is_due(self, run: StageRun, over: bool) -> bool:
        every = self.recipe.train.eval_every
        return not run.stage.reads_regions and (over or bool(every and run.step % every == 0))

    def _catch_up(self, run: StageRun, journal: Journal) -> None:
        """Take the look that a signal has left out: it may be the best, or the one that ends the stage."""
        stopping, over = self.stoppings.get(run.stage.name), run.progress >= 1.0
        ended = stopping is not None and stopping.over
        if ended or self.looked == self.step:
            if stopping and (over or ended) and not stopping.is_closed:  # its length or patience is less than it was
                self._close(run, stopping)
                self._save(run, None)
            return
        look = self._look(run, over)
        if look is not None:
            journal.amend(_figures(look))
            if stopping is not None:
                self._weigh(run, stopping, look, over)
            self._save(run, look)

    def _weigh(self, run: StageRun, stopping: Stopping, look: Look, over: bool) -> bool:
        """Whether the stage is over, now that it has been looked at."""
        stopping.take(self.step, stopping.score(look.loss, look.accuracy))
        if not (over or stopping.over):
            return False
        self._close(run, stopping)
        return True

    def _close(self, run: StageRun, stopping: Stopping) -> None:
        """The stage is over: the model has its best weights again."""
        stopping.is_closed = True
        if stopping.best_step not in (None, self.step):
            best = self.out / "checkpoints" / f"step-{stopping.best_step:06d}"
            try:
                put_back(self.model, best, self.recipe.model.lora is not None)
                self.looks.results = None  # they are those of the last weights
            except (ValueError, OSError) as error:
                stopping.is_put_back = False
                self.console.print(f"warning: the last weights are kept, not the best: {error}", soft_wrap=True)
        self.console.print(f"{run.stage.name}: {stopping}", soft_wrap=True, highlight=False, markup=False)

    def report(self) -> Path:
        """The page about the whole run. After a stage of regions, or when it was over as it was resumed, it has yet to
        be looked at."""
        is_stale = self.looks.results is None or self.looked != self.step
        if is_stale and self.looks.asked_rows is None and self.looks.world is not None:
            self.looks.look("at the end")
        return write_report(
            self.out,
            recipe_yaml=(self.out / "recipe.yaml").read_text(encoding="utf-8"),
            records=read_log(self.out / "log.jsonl"),
            verdict=judge(self.looks),
            sides=sides_of_run(self.recipe),
            stoppings=self.stoppings,
        )

    def _save(self, run: StageRun, look: Look | None) -> Path:
        adapters = adapter_state(self.model) if self.recipe.model.lora else {}
        stopping = self.stoppings.get(run.stage.name)
        stoppings = {name: one.state_dict() for name, one in self.stoppings.items()}
        score = None if look is None else stopping.score(look.loss, look.accuracy) if stopping else look.accuracy
        own = {"step": self.step, "files": self.files, "adapters": adapters, "stoppings": stoppings}
        return save_checkpoint(
            self.out / "checkpoints",
            self.step,
            lambda folder: write_merged(self.model, folder, self.processor),
            {**own, "looked": self.looked, **run.state_dict()},
            keep=self.recipe.train.keep_checkpoints,
            score=score,
            best=stopping.best_step if stopping else None,
        )


def _figures(look: Look) -> dict[str, float]:
    """What a record says of a look."""
    figures = {"accuracy": look.accuracy, "held_out_loss": look.loss}
    return {name: figure for name, figure in figures.items() if figure is not None}
