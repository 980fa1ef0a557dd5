"""A recipe: everything that decides what a training run gives, as validated sections.

`model` says where the weights come from, `tokenizer` and `data` what is read, `train` how it is optimised, and
`stages` what is trained in which order. A stage may replace any value of `train` and `data` for itself. This
file checks; reading and writing the YAML is `recipe_file.py`'s, building and training are others'.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from sightline.training.data_section import DataSection, FileSource, Weight, WorldSource
from sightline.training.model_section import (
    LoraSection,
    ModelSection,
    TokenizerSection,
    TuneSection,
    UpcycleSection,
)
from sightline.training.sections import Section, first_problem, merged

__all__ = [
    "DURATIONS",
    "PARTS",
    "DataSection",
    "EarlyStopping",
    "FileSource",
    "LoraSection",
    "ModelSection",
    "Optimisation",
    "Recipe",
    "RunSection",
    "SpikeRule",
    "Stage",
    "TokenizerSection",
    "TuneSection",
    "UpcycleSection",
    "WorldSource",
]

AnySection = TypeVar("AnySection", bound=Section)

Part = Literal["vision", "projector", "language"]
PARTS: tuple[Part, ...] = ("vision", "projector", "language")
DURATIONS = ("steps", "samples", "tokens", "minutes")
StageKind = Literal["tower", "language", "align", "instruct", "joint"]
# What each kind of stage trains where the stage does not say.
TRAINED: dict[str, tuple[Part, ...]] = {
    "tower": ("vision",),
    "language": ("language",),
    "align": ("projector",),
    "instruct": ("projector", "language"),
    "joint": ("vision", "projector", "language"),
}


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class EarlyStopping(Section):
    """End a stage when `patience` looks at the held-out rows in a row were no better, with the weights of the best.

    What is better is a lower loss `by` default: it takes in every token of the truth, where a few dozen answers, right
    or wrong, cannot tell neighbouring checkpoints apart. Looks are `eval_every` steps apart.
    """

    patience: int = Field(4, ge=1)
    by: Literal["loss", "accuracy"] = "loss"


class SpikeRule(Section):
    """Skip a step whose loss is more than `factor` times the median of the last `window`; stop after `patience`."""

    factor: float = Field(3.0, gt=1)
    window: int = Field(50, ge=2)
    patience: int = Field(10, ge=1)


def _fraction(share: float) -> float:
    if not 0 <= share <= 1:
        raise ValueError("is a share between 0 and 1")
    return share


Share = Annotated[float, AfterValidator(_fraction)]


class Optimisation(Section):
    """How weights are moved. `lr` is AdamW's; with `muon` the blocks' matrices take `muon_lr` instead.

    `weight_decay` is that of all matrices but embeddings.
    """

    batch_size: int = Field(32, ge=1)  # pictures or groups a step, over all accumulated micro-batches
    accumulate: int = Field(1, ge=1)
    optimizer: Literal["muon", "adamw"] = "muon"
    lr: Rate = 1.5e-3
    muon_lr: Rate = 0.008
    lr_scale: dict[Part, Weight] = Field(default_factory=dict)
    weight_decay: Weight = 0.01
    beta1: Share = 0.9
    beta2: Share = 0.95
    max_grad_norm: float = Field(1.0, gt=0)
    schedule: Literal["wsd", "cosine", "constant"] = "wsd"
    warmup_steps: int = Field(50, ge=0)
    decay_share: Share = 0.3
    min_lr_share: Share = 0.0
    ema: float | None = Field(None, gt=0, lt=1)
    activation_checkpointing: bool = False
    skip_spikes: SpikeRule | None = None
    early_stopping: EarlyStopping | None = None
    max_length: int | None = Field(None, ge=2)

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> Optimisation:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of accumulate {self.accumulate}")
        return self


class RunSection(Optimisation):
    """`train`: the optimisation that stages start from, and what holds for the whole run."""

    seed: int = Field(0, ge=0)
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of the matrix products; the weights stay float32
    compile: bool = False
    workers: int = Field(1, ge=0)
    check_rows: bool = True  # of large files all before the first step, not each when a batch meets it
    feature_cache_gib: float = Field(2.0, ge=0)  # of a frozen tower's features on disk; 0: none are kept
    checkpoint_every: int = Field(100, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    eval_every: int = Field(0, ge=0)  # steps between evaluations; 0: at the stages' ends only
    eval_per_kind: int = Field(4, ge=0)  # questions a kind and language; 0: no evaluation
    eval_rows: int = Field(500, ge=1)  # held-out rows that are asked at most


class Stage(Section):
    """One stretch of training: what is trained on what, how, and for how long.

    Exactly one of `steps`, `samples`, `tokens` and `minutes` says how long. `samples` are pictures, or
    groups of a file's rows about the same pictures; `tokens` those that carry loss, or the regions of a stage that
    reads those.
    `data` and `train` replace single values of the recipe's.
    """

    kind: StageKind
    name: str = ""
    trains: tuple[Part, ...] = ()
    objective: Literal["contrastive", "words", "captioning"] = "contrastive"  # of a tower stage
    steps: int | None = Field(None, ge=1)
    samples: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0)
    data: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("kind") not in TRAINED:
            return fields  # what is wrong is said by the field itself
        kind = fields["kind"]
        through_language = kind == "tower" and fields.get("objective") in ("captioning", "words")
        trains = TRAINED["joint"] if through_language else TRAINED[kind]
        return {**fields, "name": fields.get("name") or kind, "trains": fields.get("trains") or trains}

    @model_validator(mode="after")
    def _is_one_thing(self) -> Stage:
        given = [name for name in DURATIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of steps, samples, tokens and minutes, not {given or 'none'}")
        if self.objective != "contrastive" and self.kind != "tower":
            raise ValueError(f"objective: {self.objective} is for a tower stage: leave it out, or make kind tower")
        if self.is_contrastive and self.trains != ("vision",):
            raise ValueError(f"a contrastive tower stage trains vision alone, not {', '.join(self.trains)}")
        return self

    @property
    def is_contrastive(self) -> bool:
        return self.kind == "tower" and self.objective == "contrastive"

    @property
    def is_words(self) -> bool:
        return self.kind == "tower" and self.objective == "words"

    @property
    def reads_regions(self) -> bool:
        """Whether it learns from regions of pictures and their names, not from conversations."""
        return self.is_contrastive or self.is_words


class Recipe(Section):
    """A whole run. `tune` may be given as one word."""

    name: str
    model: ModelSection
    tune: TuneSection | None = None
    tokenizer: TokenizerSection = TokenizerSection()
    data: DataSection
    train: RunSection = RunSection()
    stages: tuple[Stage, ...] = Field(min_length=1)

    @field_validator("tune", mode="before")
    @classmethod
    def _in_a_word(cls, given: Any) -> Any:
        return {"what": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _can_be_tuned(self) -> Recipe:
        if self.tune is None or self.tune.is_settled:
            return self
        if self.tune.rank is not None and self.tune.what not in ("auto", "lora"):
            raise ValueError(f"tune.rank is LoRA's, which tune: {self.tune.what} is not: leave one of them out")
        if self.model.preset is not None:
            raise ValueError("tune: a fresh model has nothing to tune: give a checkpoint, or leave tune out")
        if self.model.lora is not None:
            raise ValueError("tune and model.lora both say what is tuned: give one of them")
        if self.model.new_words and self.tune.what not in ("auto", "joint", "full"):
            raise ValueError(f"new_words have to be learned, which tune: {self.tune.what} does not: make it full")
        for stage in self.stages:
            if "vision" in stage.trains:
                raise ValueError(f"tune: stage {stage.name} trains the tower, which is not tuned: leave tune out")
        return self

    @model_validator(mode="after")
    def _makes_its_tokenizer(self) -> Recipe:
        if self.model.preset is None and self.tokenizer != TokenizerSection():
            raise ValueError(
                "tokenizer is for a fresh model: a checkpoint, or vision with language, brings its own: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"two stages have one name: {', '.join(names)}; give each its own")
        if self.model.new_words:
            self._check_new_words()
        if self.model.lora and any("vision" in stage.trains for stage in self.stages):
            raise ValueError("LoRA leaves the tower as it is: no stage may train vision")
        for stage in self.stages:
            data, optimisation = self.data_of(stage), self.optimisation_of(stage)
            if stage.reads_regions and optimisation.accumulate > 1:
                raise ValueError(
                    f"stage {stage.name}: a step of regions is one batch: set stages.{stage.name}.train.accumulate to 1"
                )
            if (stage.kind == "language" or stage.reads_regions) and data.files:
                raise ValueError(f"stage {stage.name}: its samples come from the built-in world, not from files")
            if optimisation.early_stopping:
                self._check_early_stopping(stage, optimisation, optimisation.early_stopping)
        self._check_one_split()
        return self

    def _check_early_stopping(self, stage: Stage, optimisation: Optimisation, rule: EarlyStopping) -> None:
        if optimisation.ema:
            raise ValueError(
                f"stage {stage.name}: early_stopping keeps the weights of the best look, and ema ends a stage with an "
                "average of all: leave one of them out"
            )
        if not any(file.held_out or file.validation for one in self.stages for file in self.data_of(one).files):
            raise ValueError(
                f"stage {stage.name}: early_stopping needs rows that are held out: give data.files, with a held_out "
                "above 0"
            )
        if not self.train.eval_every:
            raise ValueError(f"stage {stage.name}: early_stopping needs train.eval_every, the steps from look to look")
        if rule.by == "accuracy" and not self.train.eval_per_kind:
            raise ValueError(
                f"stage {stage.name}: early_stopping by accuracy asks questions: set train.eval_per_kind to 1"
            )

    def _check_one_split(self) -> None:
        """What one stage holds out, no other may learn from."""
        known: dict[str, FileSource] = {}
        for stage in self.stages:
            for file in self.data_of(stage).files:
                first = known.setdefault(file.path, file)
                if (first.held_out, first.validation) != (file.held_out, file.validation):
                    raise ValueError(
                        f"stage {stage.name}: {file.path} is divided in another way than in an earlier stage: give "
                        "held_out and validation alike"
                    )

    def _check_new_words(self) -> None:
        if not any(self.data_of(stage).files for stage in self.stages):
            raise ValueError("model.new_words come from files: give data.files")
        if not any("language" in stage.trains for stage in self.stages):
            raise ValueError("model.new_words have to be learned: give a stage that trains the language model")

    def seed_of(self, stage: Stage) -> int:
        """A seed of each stage's own: stages see different pictures, and draw the same however a run came to them."""
        return self.train.seed * 1000 + self.stages.index(stage)

    def data_of(self, stage: Stage) -> DataSection:
        """What a stage reads. Raises ValueError where the stage's `data` does not fit."""
        fields = merged(self.data.model_dump(), stage.data)
        section = _checked(DataSection, fields, f"stages.{stage.name}.data").with_shares()
        return section.captions() if stage.objective == "captioning" else section

    def optimisation_of(self, stage: Stage) -> Optimisation:
        """How a stage is optimised. Raises ValueError where the stage's `train` does not fit."""
        shared = self.train.model_dump(include=set(Optimisation.model_fields))
        return _checked(Optimisation, merged(shared, stage.train), f"stages.{stage.name}.train")


def _checked(section: type[AnySection], fields: dict[str, Any], under: str) -> AnySection:
    try:
        return section.model_validate(fields)
    except ValidationError as error:
        raise ValueError(first_problem(error, section, under)) from None
