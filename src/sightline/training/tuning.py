"""Which weights a set of rows should move: the rule behind `tune: auto`, with its reasons.

- Below `FEW` rows with pictures, the projector alone. A language model of millions of weights learns so few answers by
  heart in one epoch and forgets others for them; the projector is one or two matrices, and words stay as they were.
- A tower of fewer than `SMALL_TOWER` weights is tuned too, and all the rest with it: it has learned the pictures that
  it was made from, and sees little in others (docs/lab-notes.md). Published CLIP and SigLIP towers are larger.
- Below `MANY` rows, low-rank adapters. On sets of this size they learn what full tuning learns, and forget less of what
  was there (Biderman et al., 2024, "LoRA Learns Less and Forgets Less"). Their rank is far more than so few rows fill.
- From there on, all of the language model, where weights, gradients and AdamW's two averages, 16 bytes a trained
  weight, leave enough of the memory for activations; else adapters of a higher rank, as more rows hold more (Schulman
  and Thinking Machines, 2025, "LoRA Without Regret").

What little moves may move faster: `RATE` is how much higher the learning rate of adapters, of a lone projector and of
a small model is than that of full tuning, which a recipe's `lr` means. The same two papers find about ten times for
adapters; half of that leaves room for recipes whose `lr` is high already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sightline.training.recipe import Recipe, TuneSection

__all__ = ["FEW", "MANY", "SMALL_TOWER", "Facts", "applied", "choose"]

FEW = 32  # rows
MANY = 2_000  # rows
SMALL_TOWER = 20_000_000  # weights
RANK, HIGH_RANK = 16, 64
BYTES_HELD, BYTES_MOVED = 4, 12  # of a float32 weight; of its gradient and AdamW's averages
ROOM = 0.6  # of the memory that these may take; the rest is activations' and the system's
RATE = 5.0
_TRAINS = {"projector": ("projector",), "joint": ("vision", "projector", "language")}


@dataclass(frozen=True)
class Facts:
    """What the choice depends on. `rows` is None where nobody knows how many there are; `memory` is in bytes."""

    rows: int | None
    pictures: bool
    tuned: int  # parameters of projector and language model
    frozen: int  # parameters of the tower
    memory: int
    has_peft: bool = True
    new_words: bool = False

    @property
    def full_bytes(self) -> int:
        """What full tuning holds, besides activations."""
        return self.tuned * (BYTES_HELD + BYTES_MOVED) + self.frozen * BYTES_HELD

    @property
    def joint_fits(self) -> bool:
        return (self.tuned + self.frozen) * (BYTES_HELD + BYTES_MOVED) <= ROOM * self.memory

    @property
    def full_fits(self) -> bool:
        return self.full_bytes <= ROOM * self.memory


def choose(facts: Facts) -> TuneSection:
    """What to tune, and why."""
    if facts.new_words:
        return _tune("full", "new words have to be learned by the embeddings, which adapters do not move")
    rows = f"{facts.rows:,} rows" if facts.rows is not None else "rows without a known end"
    if facts.rows is not None and facts.rows < FEW and facts.pictures:
        return _tune("projector", f"{rows} are too few to change words by (fewer than {FEW})")
    if facts.pictures and facts.frozen < SMALL_TOWER and facts.joint_fits:
        return _tune("joint", f"a tower of {facts.frozen:,} weights is small enough to learn new pictures itself")
    needs = f"{_gib(facts.full_bytes)} for all {facts.tuned:,} weights"
    few = facts.rows is not None and facts.rows < MANY
    if not facts.has_peft and (few or not facts.full_fits):
        what = "full" if facts.full_fits or not facts.pictures else "projector"
        return _tune(what, f"PEFT, which {rows} call for, is not installed (pip install 'sightline[train]')")
    if few:
        return _tune("lora", f"{rows} are few beside {facts.tuned:,} weights (fewer than {MANY:,})", RANK)
    if facts.full_fits:
        return _tune("full", f"{rows} are enough, and {needs} fit into {_gib(facts.memory)}")
    return _tune("lora", f"{needs} are more than {ROOM:.0%} of {_gib(facts.memory)}", HIGH_RANK)


def _tune(what: Any, because: str, rank: int | None = None) -> TuneSection:
    return TuneSection(what=what, rank=rank, because=because)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def applied(recipe: Recipe, tune: TuneSection) -> Recipe:
    """The recipe with the choice `tune` written out: adapters, what stages train, and their learning rates."""
    fields = recipe.model_dump() | {"tune": tune.model_dump()}
    if tune.what == "lora":
        rank = tune.rank or RANK
        fields["model"]["lora"] = {"rank": rank, "alpha": 2 * rank}
        fields["tune"]["rank"] = rank
    for stage in fields["stages"]:
        stage["trains"] = _TRAINS.get(tune.what, stage["trains"])
    # A run that was saved without `fast` was.
    if tune.fast or (tune.fast is None and tune.what != "full"):
        for train in (fields["train"], *(stage["train"] for stage in fields["stages"])):
            _quicken(train, spare_projector=tune.what == "lora")
    return Recipe.model_validate(fields)


def _quicken(train: dict[str, Any], spare_projector: bool) -> None:
    """`RATE` times the learning rate; beside adapters, the projector keeps the one it has in full tuning."""
    if "lr" in train:
        train["lr"] *= RATE
    if spare_projector and "lr_scale" in train:
        scale = train["lr_scale"]
        train["lr_scale"] = scale | {"projector": scale.get("projector", 1.0) / RATE}
