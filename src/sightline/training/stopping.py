"""When a stage has learned what it will: looks at held-out rows, the best of them, and how long ago it was.

It knows numbers and steps. What is looked at, and how weights come back, is the loop's business.
"""

from __future__ import annotations

import math
from typing import Any

from sightline.training.recipe import EarlyStopping

__all__ = ["Stopping"]


class Stopping:
    """Takes the looks of one stage.

    Of equally good looks the later one is the best: it has learned more. Only a better one starts the patience anew, or
    a figure that does not move would never end a stage.
    """

    def __init__(self, rule: EarlyStopping):
        self.rule = rule
        self.looks, self.since = 0, 0  # since: looks after the last that was better than all before
        self.last_step: int | None = None
        self.best_step: int | None = None
        self.best_score = -math.inf
        self.is_put_back = True  # or the best weights could not be read again
        self.is_closed = False  # whether the stage has ended, and with its best weights

    @property
    def over(self) -> bool:
        return self.since >= self.rule.patience

    @property
    def is_behind(self) -> bool:
        """Whether the stage has ended with weights of before its last step: it cannot be made longer."""
        return self.is_closed and not self.over and self.best_step not in (None, self.last_step)

    def score(self, loss: float | None, accuracy: float | None) -> float | None:
        """The figure that decides, higher when better; None where there is none that can be compared."""
        figure = accuracy if self.rule.by == "accuracy" else None if loss is None else -loss
        return figure if figure is not None and math.isfinite(figure) else None

    def take(self, step: int, score: float | None) -> None:
        """A look after the run's step `step`, so that the stage goes on, or did until now."""
        self.is_closed = False
        self.looks, self.last_step = self.looks + 1, step
        better = score is not None and score > self.best_score
        self.since = 0 if better else self.since + 1
        if score is not None and score >= self.best_score:
            self.best_step, self.best_score = step, score

    def state_dict(self) -> dict[str, Any]:
        """What a resumed stage goes on from."""
        return {
            name: getattr(self, name)
            for name in ("looks", "since", "last_step", "best_step", "best_score", "is_put_back", "is_closed")
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        """What was chosen, and why."""
        if self.best_step is None:
            return f"none of {self.looks} looks at held-out rows gave a figure: the last weights are kept"
        figure = f"{-self.best_score:.4f}" if self.rule.by == "loss" else f"{100 * self.best_score:.1f} %"
        best = f"{self.rule.by} on held-out rows was best at step {self.best_step} ({figure})"
        if self.best_step == self.last_step:
            return f"the {best}, the last of {self.looks} looks"
        ended = "stopped early" if self.over else "ran to its end"
        kept = "whose weights are kept" if self.is_put_back else "whose weights are lost: the last ones are kept"
        return f"the {best}, {kept}; it {ended} at step {self.last_step}, after {self.looks} looks"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        known = self.best_step is not None
        return {
            "by": self.rule.by,
            "patience": self.rule.patience,
            "looks": self.looks,
            "best_step": self.best_step,
            "best": abs(self.best_score) if known else None,
            "last_step": self.last_step,
            "stopped_early": self.over,
            "best_is_kept": self.is_put_back,
        }
