"""Which losses are too far from the last ones to be learned from."""

from __future__ import annotations

import statistics
from collections import deque

from sightline.training.recipe import SpikeRule

__all__ = ["SpikeFilter"]


class SpikeFilter:
    """Judges each step's loss by the median of the last ones that were kept."""

    def __init__(self, rule: SpikeRule | None):
        self.rule = rule
        self.recent: deque[float] = deque(maxlen=rule.window if rule else 1)
        self.in_a_row = 0
        self.skipped = 0

    def skips(self, loss: float) -> bool:
        """Whether the step with this loss is to be left out. Nothing is before the window is full.

        Raises:
            RuntimeError: the rule's patience is at its end.
        """
        if self.rule is None:
            return False
        full = len(self.recent) == self.rule.window
        if not full or loss <= self.rule.factor * statistics.median(self.recent):
            self.recent.append(loss)
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        if self.in_a_row > self.rule.patience:
            raise RuntimeError(
                f"the last {self.in_a_row} losses were all above {self.rule.factor:g} times the median of "
                f"{statistics.median(self.recent):.3g}: this is no spike; lower the learning rate or look at the data"
            )
        self.skipped += 1
        return True

    def state_dict(self) -> dict:
        return {"recent": list(self.recent), "in_a_row": self.in_a_row, "skipped": self.skipped}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave."""
        self.recent.extend(state["recent"])
        self.in_a_row, self.skipped = state["in_a_row"], state.get("skipped", 0)
