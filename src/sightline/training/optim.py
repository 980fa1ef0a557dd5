"""Optimisers and their schedule: Muon for the blocks' matrices, AdamW for everything else.

This file knows parameters by name and shape, not what they compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sightline.training.parts import is_adapter, part_of
from sightline.training.recipe import Optimisation

# The quintic of Jordan et al. (2024): it takes singular values in (0, 1] to about 1 in five steps.
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised (Jordan et al., 2024), each matrix of a stack by itself.

    `torch.optim.Muon` takes neither stacked experts `[E, out, in]` nor a dtype: it works in bfloat16, which a
    CPU without native bfloat16 multiplies a hundred times slower than float32.

    Args:
        lr: step length in units of the spectral norm, before the factor sqrt(max(1, out / in)).
        dtype: what the update is orthogonalised in.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        steps: int = 5,
        dtype: torch.dtype = torch.float32,
    ):
        self.dtype = dtype
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for stack in _by_shape(p for p in group["params"] if p.grad is not None):
                self._update(stack, group)

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        updates = torch.stack([self._nesterov(p, group["momentum"]) for p in params])
        rows, columns = updates.shape[-2:]
        step = group["lr"] * max(1.0, rows / columns) ** 0.5
        for param, update in zip(params, orthogonalize(updates.to(self.dtype), group["steps"]), strict=True):
            param.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-step)

    def _nesterov(self, param: Tensor, momentum: float) -> Tensor:
        state = self.state[param]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(param)
        buffer = state["momentum_buffer"].lerp_(param.grad, 1 - momentum)
        return param.grad.lerp(buffer, momentum)  # type: ignore[union-attr]


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: Newton-Schulz iteration over `[..., rows, columns]`."""
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def _by_shape(params: Iterable[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.Size, list[Tensor]] = {}
    for param in params:
        groups.setdefault(param.shape, []).append(param)
    return list(groups.values())


def is_block_matrix(name: str, param: Tensor) -> bool:
    """Whether Muon takes it: a matrix (or stack of them) inside a block of the tower or the language model.

    Not a router, whose rows are one expert each and meant to differ in length, nor an adapter's factor, of which
    only the product with the other one is a step of the weight.
    """
    return param.ndim >= 2 and ".layers." in name and not name.endswith("mlp.gate.weight") and not is_adapter(name)


def build_optimizers(
    model: nn.Module, settings: Optimisation, dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the blocks' matrices where the recipe says so, over the trainable parameters.

    `dtype` is what the machine multiplies matrices in. Each part has its own learning rate, kept as `initial_lr` in
    its parameter group. All matrices are decayed but embeddings, and the head where it is tied to them; norms,
    biases and scales are not.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    by_muon = {name for name, p in named if settings.optimizer == "muon" and is_block_matrix(name, p)}
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed = {name for name, p in named if p.ndim >= 2 and id(p) not in tables}
    matrices = _groups([pair for pair in named if pair[0] in by_muon], settings, settings.muon_lr, decayed)
    rest = _groups([pair for pair in named if pair[0] not in by_muon], settings, settings.lr, decayed)
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(Muon(matrices, lr=settings.muon_lr, dtype=dtype))
    if rest:
        betas = (settings.beta1, settings.beta2)
        optimizers.append(torch.optim.AdamW(rest, lr=settings.lr, betas=betas, fused=True))
    return optimizers


def _groups(
    named: list[tuple[str, Tensor]], settings: Optimisation, lr: float, decayed: set[str]
) -> list[dict[str, Any]]:
    """Parameter groups by part and by whether they are decayed."""
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, param in named:
        part, decays = part_of(name), name in decayed
        scaled = lr * settings.lr_scale.get(part, 1.0)
        decay = settings.weight_decay if decays else 0.0
        fields = {"params": [], "lr": scaled, "initial_lr": scaled, "weight_decay": decay, "part": part}
        groups.setdefault((part, decays), fields)["params"].append(param)
    return list(groups.values())


def set_learning_rates(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Every group's rate is its `initial_lr` times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def lr_factor(settings: Optimisation, step: int, progress: float) -> float:
    """The share of the full learning rate at `step`, when `progress` (0 to 1) of the stage is behind it.

    Linear warm-up over `warmup_steps`, times one of: `constant`; `cosine` (Loshchilov and Hutter, 2017); `wsd`,
    which stays and falls linearly over the last `decay_share` (Hu et al., 2024). Both end at `min_lr_share`.
    """
    left = 1.0 - progress
    shapes = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "wsd": min(1.0, left / settings.decay_share) if settings.decay_share else 1.0,
    }
    falling = shapes[settings.schedule]
    if settings.schedule != "constant":
        falling = settings.min_lr_share + (1 - settings.min_lr_share) * falling
    return min(1.0, (step + 1) / (settings.warmup_steps + 1)) * falling
