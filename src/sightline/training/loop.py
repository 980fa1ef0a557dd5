"""The training loop: batch, loss, backward, clip, step; a line in the log, now and then a checkpoint.

Everything that decides the result is in the recipe. The loop prints and saves; it does not choose.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor
from torch.nn import functional as F

from sightline.config import PRESETS, LLMConfig, VLMConfig
from sightline.interop.load import best_dtype, pick_device
from sightline.nn.balance import update_router_biases
from sightline.nn.moe import Routing
from sightline.nn.router_statistics import router_statistics
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.tokenizer import train_tokenizer
from sightline.training.batches import SceneBatches, batches_from, world_of
from sightline.training.checkpoint import checkpoints, load_state, save_checkpoint, save_model
from sightline.training.optim import build_optimizers, build_schedules
from sightline.training.recipe import Recipe, check_same_run, load_recipe, save_recipe


def train(recipe: Recipe, out: Path, *, resume: bool = False, console: Console | None = None) -> Path | None:
    """Run a recipe; the model lands in `out/model`. None where a signal ended it early.

    Raises:
        FileExistsError: `out` holds a run and `resume` is off: nothing is overwritten.
        FileNotFoundError: `resume` is on and there is no checkpoint.
        ValueError: the run to resume builds another model or sees other data.
        FloatingPointError: a loss or gradient is not finite; the weights are untouched.
    """
    console = console or Console(stderr=True)
    found = checkpoints(out / "checkpoints")
    _check_place(recipe, out, found, resume)
    out.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(recipe.train.seed)
    model, processor = _reload(found[-1]) if resume else build(recipe)
    save_recipe(recipe, out / "recipe.yaml")
    trainer = Trainer(recipe, model, processor, out, console)
    if resume:
        trainer.restore(found[-1])
    _keep_log(out / "log.jsonl", trainer.step)
    if not trainer.run():
        return None
    save_model(out / "model", model, processor)
    console.print(f"done: {out / 'model'}  (try: sightline ask IMAGE QUESTION --model {out / 'model'})")
    return out / "model"


def _check_place(recipe: Recipe, out: Path, found: list[Path], resume: bool) -> None:
    if resume and not found:
        raise FileNotFoundError(f"there is no checkpoint to resume in {out / 'checkpoints'}: start it without --resume")
    if resume:
        check_same_run(recipe, load_recipe(out / "recipe.yaml"))
    elif found:
        raise FileExistsError(f"{out} already holds a run: add --resume to go on, or give another --out")
    # What a run leaves that ended before its first checkpoint may be begun anew.
    elif out.exists() and {path.name for path in out.iterdir()} - {"recipe.yaml", "log.jsonl", "checkpoints"}:
        raise FileExistsError(f"{out} is not empty and no run that could go on: give another --out")


def _keep_log(path: Path, step: int) -> None:
    """Drop what was logged after the checkpoint: those steps are taken again."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    path.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")


def build(recipe: Recipe) -> tuple[VLM, VLMProcessor]:
    """A fresh model, and a tokenizer trained on the world's texts."""
    fields = {**PRESETS[recipe.model.preset], **recipe.model.overrides, "freeze_vision": False}
    size = VLMConfig(**fields).vision_config.image_size
    tokenizer = train_tokenizer(world_of(recipe, size).texts(recipe.tokenizer.texts), recipe.tokenizer.vocab_size)
    config = VLMConfig(
        **fields,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return VLM(config), VLMProcessor.from_config(config, tokenizer)


def _reload(checkpoint: Path) -> tuple[VLM, VLMProcessor]:
    model = VLM.from_pretrained(checkpoint, dtype=torch.float32)
    return model, VLMProcessor.from_pretrained(checkpoint)


def supervised_loss(
    model: Callable[..., Any], config: LLMConfig, batch: dict[str, Tensor]
) -> tuple[Tensor, int, tuple[Routing, ...] | None]:
    """The loss of a batch (input_ids, attention_mask, labels `[batch, seq]`; pixel_values `[images, 3, H, W]`).

    It is the mean cross-entropy over the supervised tokens, and only their logits are computed; a mixture of
    experts adds its weighted balance and z-losses.

    Returns:
        the loss (a scalar), the number of supervised tokens, and each sparse layer's routing.
    """
    labels = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    keep = labels != -100
    outputs = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        pixel_values=batch.get("pixel_values"),
        logits_to_keep=keep,
        check_images=False,
        use_cache=False,
    )
    loss = F.cross_entropy(outputs.logits.float(), labels[keep])
    if outputs.aux_loss is not None:
        loss = loss + config.aux_loss_alpha * outputs.aux_loss + config.router_z_loss_alpha * outputs.z_loss
    return loss, int(keep.sum()), outputs.router


class Trainer:
    """One run's moving parts."""

    def __init__(self, recipe: Recipe, model: VLM, processor: VLMProcessor, out: Path, console: Console):
        self.recipe, self.processor, self.out, self.console = recipe, processor, out, console
        settings = recipe.train
        self.device = pick_device(settings.device)
        self.dtype = best_dtype(self.device) if settings.dtype == "auto" else getattr(torch, settings.dtype)
        self.model: VLM = torch.nn.Module.to(model, self.device).train()
        self.forward = torch.compile(self.model, dynamic=True) if settings.compile else self.model
        self.optimizers = build_optimizers(self.model, settings)
        self.schedules = build_schedules(self.optimizers, settings)
        self.step = 0
        self.stopping = False

    def restore(self, checkpoint: Path) -> None:
        """Take up optimisers, schedules, random generator and position where the checkpoint left them."""
        state = load_state(checkpoint)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.step = state["step"]

    def run(self) -> bool:
        """Train to the end (True) or to a signal, after which the last checkpoint says where to go on (False)."""
        settings = self.recipe.train
        dataset = SceneBatches(self.recipe, self.processor, self.model.config.vision_config.image_size)
        with _progress(self.console) as progress, self._signals(), (self.out / "log.jsonl").open("a") as log:
            bar = progress.add_task("train", total=settings.steps, completed=self.step, note="")
            started = time.perf_counter()
            for batch in batches_from(dataset, self.step):
                record = self._train_step(batch)
                record["seconds"] = round(time.perf_counter() - started, 3)
                started = time.perf_counter()
                print(json.dumps(record), file=log, flush=True)
                rate = settings.batch_size / record["seconds"]
                note = f"loss {record['loss']:.3f}  lr {record['lr']:.2e}  {rate:.1f} pictures/s"
                progress.update(bar, completed=self.step, note=note)
                if self.stopping or self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                    path = self._save()
                if self.stopping and self.step < settings.steps:
                    self.console.print(f"stopped after step {self.step}; saved {path}. Go on with --resume")
                    return False
        return True

    def _train_step(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss, tokens, router = supervised_loss(self.forward, self.model.config, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.train.max_grad_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise FloatingPointError(
                f"the loss is {loss.item()} and the gradient's norm {norm.item()} in the batch of step {self.step}; "
                "the weights are untouched"
            )
        lr = self.schedules[0].get_last_lr()[0]
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        self.step += 1
        record = {"step": self.step, "loss": loss.item(), "tokens": tokens, "grad_norm": norm.item(), "lr": lr}
        return record if router is None else record | self._balance(router, batch)

    @torch.no_grad()
    def _balance(self, router: tuple[Routing, ...], batch: dict[str, Tensor]) -> dict[str, Any]:
        """Move the selection biases where the model has them; report the experts' balance by modality."""
        config, real = self.model.config, batch["attention_mask"]
        if config.use_router_bias:
            update_router_biases(self.model, router, real, config.router_bias_update_rate)
        image = batch["input_ids"] == config.image_token_id
        layers = router_statistics(router, real, image, config.scoring_func)
        return {
            f"{modality}_{name}": [round(float(layer[modality][name]), 3) for layer in layers]
            for modality in ("text", "image")
            for name in ("dead_experts", "entropy")
        }

    def _save(self) -> Path:
        state = {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }
        keep = self.recipe.train.keep_checkpoints
        return save_checkpoint(self.out / "checkpoints", self.step, self.model, self.processor, state, keep)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM finish the step and save it instead of losing it."""

        def stop(*_: Any) -> None:
            self.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _progress(console: Console) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
