"""An exponential moving average of the trained weights, kept beside the model and put into it at a stage's end."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["MovingAverage"]


class MovingAverage:
    """After each step: average = decay * average + (1 - decay) * weights (Polyak and Juditsky, 1992).

    The decay grows as (1 + n) / (10 + n) up to `decay`, so that the first averages forget the start.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.updates = 0
        self.replaced: dict[str, Tensor] = {}
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def update(self, model: nn.Module) -> None:
        """Take in the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = dict(model.named_parameters())
        get_ema_multi_avg_fn(decay)(
            list(self.weights.values()), [now[name].detach() for name in self.weights], self.updates
        )

    @torch.no_grad()
    def put_into(self, model: nn.Module) -> None:
        """Replace the model's trained weights by their average, and keep them for `take_out_of`."""
        now = dict(model.named_parameters())
        for name, average in self.weights.items():
            self.replaced[name] = now[name].detach().clone()
            now[name].copy_(average)

    @torch.no_grad()
    def take_out_of(self, model: nn.Module) -> None:
        """Give the model back the weights that `put_into` has replaced, if it has."""
        now = dict(model.named_parameters())
        for name, weights in self.replaced.items():
            now[name].copy_(weights)
        self.replaced = {}

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        return {"updates": self.updates, "weights": self.weights, "replaced": self.replaced}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave."""
        self.updates = state["updates"]
        for name, average in self.weights.items():
            average.copy_(state["weights"][name])
        self.replaced = {name: weights.to(self.weights[name].device) for name, weights in state["replaced"].items()}
