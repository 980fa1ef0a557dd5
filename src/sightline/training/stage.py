"""One stage of a run: its optimisers, its place in its data, and one step after the other.

It knows neither files nor the console: `loop.py` saves, logs and shows what a step reports here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sightline.interop.load import best_dtype, pick_device
from sightline.nn.float32_attention import attend_in_float32
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.training.batches import MicroBatch, batches_from, open_batches
from sightline.training.compiled_blocks import CompiledBlocks
from sightline.training.ema import MovingAverage
from sightline.training.frozen_features import FrozenFeatures
from sightline.training.objectives import Contrast, Conversations, Loss, Objective, Words
from sightline.training.optim import build_optimizers, lr_factor, set_learning_rates
from sightline.training.parts import set_trainable
from sightline.training.recipe import Recipe, Stage
from sightline.training.router_balance import StepRouting
from sightline.training.spikes import SpikeFilter

__all__ = ["StageRun", "place_of"]

Record = dict[str, Any]

# What helps where a loss is not finite: before the first step no rate was in play.
BEFORE = "look at these rows, and at the weights that the stage begins with"
UNDER_WAY = "lower the learning rate or look at these rows"


def place_of(recipe: Recipe) -> tuple[torch.device, torch.dtype]:
    """Where a run computes, and the dtype of its matrix products; `auto` asks the machine."""
    device = pick_device(recipe.train.device)
    dtype = recipe.train.dtype
    return device, best_dtype(device) if dtype == "auto" else getattr(torch, dtype)


class _Gradients(NamedTuple):
    """What the backward passes of a step found, besides the gradients themselves."""

    loss: float
    total: int
    routing: StepRouting | None


class StageRun:
    """A stage under way. `model` is trained in place, on `device`, with matrix products in `dtype`."""

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        model: VLM,
        processor: VLMProcessor,
        device: torch.device,
        dtype: torch.dtype,
    ):
        self.recipe, self.stage, self.model = recipe, stage, model
        self.device, self.dtype = device, dtype
        if device.type == "cpu" and dtype == torch.bfloat16:
            attend_in_float32(model)
        self.settings = recipe.optimisation_of(stage)
        self.data = open_batches(recipe, stage, processor, model.config.vision_config)
        # What a stage draws depends on the stage alone, however the run came to it.
        torch.manual_seed(recipe.seed_of(stage))
        self.objective = self._objective()
        self.trained = self._switch_on()
        self.optimizers = build_optimizers(self.objective.module, self.settings, dtype)
        self.average = MovingAverage(model, self.settings.ema) if self.settings.ema else None
        self.spikes = SpikeFilter(self.settings.skip_spikes)
        self._compiled: AbstractContextManager[None] = nullcontext()
        self.step, self.samples, self.tokens, self.seconds = 0, 0, 0, 0.0

    def _objective(self) -> Objective:
        if self.stage.is_contrastive:
            return Contrast(self.model, self.device)
        if self.stage.is_words:
            return Words(self.model)
        return Conversations(self.model, self._frozen_features())

    def _frozen_features(self) -> FrozenFeatures | None:
        if "vision" in self.stage.trains:
            return None
        limit = int(self.recipe.train.feature_cache_gib * 2**30)
        return FrozenFeatures(
            self.model, self.data.processor.image_processor, limit, self.dtype, self.recipe.train.compile
        )

    def _switch_on(self) -> list[Tensor]:
        """Gradients for what the stage trains, and memory saved where the recipe asks for it."""
        self.objective.module.train()
        self.model.train()
        lora = self.recipe.model.lora is not None
        set_trainable(self.model, self.stage.trains, lora, blocks=not self.stage.is_words)
        _checkpoint_activations(self.model, self.settings.activation_checkpointing)
        return [p for p in self.objective.module.parameters() if p.requires_grad]

    @property
    def progress(self) -> float:
        """How much of the stage is behind, 0 to 1."""
        return share_done(self.stage, self.step, self.samples, self.tokens, self.seconds)

    def steps(self) -> Iterator[Record]:
        """Take the stage's remaining steps; each yields its record after the weights have moved.

        Raises:
            FloatingPointError: a loss or gradient is not finite; the weights are untouched.
            RuntimeError: the losses stay above what the spike rule bears.
        """
        if self.progress >= 1.0:
            return
        self.objective.begin()
        if self.recipe.train.compile:
            self._compiled = CompiledBlocks(self.objective.module)
        limit = self.model.config.max_position_embeddings
        # Closed at once when a step fails: an error that is kept would keep the workers, which wait for their trainer.
        with closing(batches_from(self.data, self.step, self.recipe.train.workers, limit)) as batches:
            started = time.perf_counter()
            while self.progress < 1.0:
                batch = next(batches)
                waited = time.perf_counter() - started
                record = self.take(batch)
                # Taken here, so that the time for evaluations and checkpoints is not the stage's.
                record["seconds"] = time.perf_counter() - started
                record["data_wait"] = waited
                self.seconds += record["seconds"]
                yield record
                started = time.perf_counter()

    def take(self, micro_batches: list[MicroBatch]) -> Record:
        """One optimiser step over accumulated micro-batches. Raises as `steps`."""
        factor = lr_factor(self.settings, self.step, self.progress)
        with self._compiled:
            found = self._backward(micro_batches)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.settings.max_grad_norm)
        self._check_finite(found.loss, norm, self._this_step)
        skipped = self.spikes.skips(found.loss)
        if not skipped:
            self._move(factor, found.routing)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.step += 1
        self.samples += self.settings.batch_size
        self.tokens += found.total
        record: Record = {
            "loss": found.loss,
            "tokens": found.total,
            "positions": sum(self.objective.positions(batch) for batch in micro_batches),
            "pictures": sum(len(batch.get("pixel_values", ())) for batch in micro_batches),
            "grad_norm": norm.item(),
            "lr": self.settings.lr * factor,
        }
        if skipped:
            record["skipped"] = True
        return record if found.routing is None else record | found.routing.record(self.model.config.scoring_func)

    def rehearse(self, micro_batches: list[MicroBatch], rows: str) -> tuple[float, float]:
        """The loss and floating-point operations of a step that moves nothing: its learning rate is zero.

        `rows` says what rows they are, for people.

        The optimisers' state stays, as it would beside the next step; `forget` removes it.

        Raises:
            FloatingPointError: the loss or gradient is not finite.
        """
        if self.settings.accumulate > 1:  # all parts of a step but the first have the gradients so far beside them
            for weight in self.trained:
                weight.grad = torch.zeros_like(weight)
        devices = range(torch.cuda.device_count()) if self.device.type == "cuda" else ()
        with torch.random.fork_rng(devices=devices), FlopCounterMode(display=False) as counter:
            loss = self._backward(micro_batches).loss
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.settings.max_grad_norm)
        self._check_finite(loss, norm, lambda: f"in the rehearsal of {rows}", BEFORE)
        set_learning_rates(self.optimizers, 0.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return loss, float(counter.get_total_flops())

    def forget(self) -> None:
        """Remove what rehearsals have left in the optimisers."""
        for optimizer in self.optimizers:
            optimizer.state.clear()

    def _backward(self, micro_batches: list[MicroBatch]) -> _Gradients:
        total = sum(self.objective.weight(batch) for batch in micro_batches)
        losses, texts = [], list[MicroBatch]()
        for given in micro_batches:
            # Moved when its turn comes, as it was rehearsed: the pictures of all together may not fit.
            batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in given.items()}
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                loss = self.objective.loss(batch, total)
            # Rows without a picture give a projector or tower that is trained alone nothing to learn.
            if loss.value.requires_grad:
                loss.value.backward()
            losses.append(Loss(loss.value.detach(), loss.router))
            texts.append({name: batch[name] for name in ("input_ids", "attention_mask") if name in batch})
        routers = [loss.router for loss in losses if loss.router is not None]
        routing = StepRouting(routers, texts, self.model.config.image_token_id) if routers else None
        return _Gradients(float(sum(one.value for one in losses)), total, routing)

    def _check_finite(self, loss: float, norm: Tensor, where: Callable[[], str], remedy: str = UNDER_WAY) -> None:
        if not (torch.isfinite(torch.tensor(loss)) and torch.isfinite(norm)):
            raise FloatingPointError(
                f"the loss is {loss} and the gradient's norm {norm.item()} in stage {self.stage.name}, {where()}; the "
                f"weights are untouched: {remedy}"
            )

    def _this_step(self) -> str:
        rows = self.data.origins(self.step)
        shown = ", ".join(rows[:3]) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")
        return f"step {self.step + 1} (rows: {shown})"

    def _move(self, factor: float, routing: StepRouting | None) -> None:
        set_learning_rates(self.optimizers, factor)
        for optimizer in self.optimizers:
            optimizer.step()
        if self.average:
            self.average.update(self.model)
        if routing is not None and "language" in self.stage.trains:
            routing.move_biases(self.model)

    def end(self) -> None:
        """What is done when the stage is over: an averaged one ends with the average."""
        if self.average:
            self.average.put_into(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the steps to come, besides the recipe and the model's saved weights."""
        own = self.objective.own_parameters()
        return {
            "stage": self.recipe.stages.index(self.stage),
            "stage_step": self.step,
            "samples": self.samples,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "own": {name: parameter.detach() for name, parameter in own.items()},
            "average": self.average.state_dict() if self.average else None,
            "spikes": self.spikes.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; the model itself was loaded before."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            # Rates may be changed for the rest of a run, and are the recipe's, not the checkpoint's.
            for group, ours in zip(optimizer.param_groups, settings, strict=True):
                group.update(ours)
        self.step, self.samples = state["stage_step"], state["samples"]
        self.tokens, self.seconds = state["tokens"], state["seconds"]
        own = self.objective.own_parameters()
        for name, saved in state["own"].items():
            own[name].copy_(saved)
        self._load_average(state["average"])
        self.spikes.load_state_dict(state["spikes"])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda":
            # Older checkpoints hold those of all devices that there were.
            states, number = state["cuda_rng"], self.device.index or 0
            torch.cuda.set_rng_state(states[number if number < len(states) else 0], self.device)

    def _load_average(self, state: dict[str, Any] | None) -> None:
        if self.average and state:
            self.average.load_state_dict(state)
            if self.progress < 1.0:  # the recipe has been made longer since the stage ended with its average
                self.average.take_out_of(self.model)
            elif not self.average.replaced:  # it has been made shorter, and ends with it now
                self.end()


def share_done(stage: Stage, steps: int, samples: int, tokens: int, seconds: float) -> float:
    """How much of a stage so many are, 0 to 1, by what its length is given in."""
    done = (
        (steps, stage.steps),
        (samples, stage.samples),
        (tokens, stage.tokens),
        (seconds, stage.minutes and stage.minutes * 60),
    )
    return min(1.0, next(so_far / whole for so_far, whole in done if whole is not None))


def _checkpoint_activations(model: VLM, wanted: bool) -> None:
    """transformers has renamed the two methods, so they are called by the name that it has."""
    on = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    if on != wanted:
        verb = "enable" if wanted else "disable"
        names = (f"activation_checkpointing_{verb}", f"gradient_checkpointing_{verb}")
        getattr(model, next(name for name in names if hasattr(model, name)))()
