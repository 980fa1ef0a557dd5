"""The model's part of a recipe: where the weights come from, what is changed of it, and what of it is tuned."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sightline.config import PRESETS
from sightline.training.overrides import check_composed, check_overrides
from sightline.training.sections import Section, merged

__all__ = ["LoraSection", "ModelSection", "TokenizerSection", "TuneSection", "UpcycleSection"]


class UpcycleSection(Section):
    """Turn a dense model's feed-forwards into experts (Komatsuzaki et al., 2023), told apart by `noise`."""

    n_routed_experts: int = Field(4, ge=2)
    num_experts_per_token: int = Field(2, ge=1)
    noise: float = Field(0.01, gt=0)  # standard deviation, relative to each matrix's own


class LoraSection(Section):
    """Low-rank adapters (Hu et al., 2021) on the language model's projections, through PEFT."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class ModelSection(Section):
    """Where the weights come from: a fresh `preset`, a `checkpoint`, or a pretrained `vision` and `language`.

    The last two take folders or hub ids. `overrides` change the configuration of a fresh model, single values of
    its `vision_config` too. Of another model, `image_size` changes the pictures' size, and `new_words` is how many
    words of the files, which its tokenizer spells out, become tokens of their own.
    """

    preset: str | None = None
    checkpoint: str | None = None
    vision: str | None = None
    language: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)
    image_size: int | None = Field(None, ge=1)
    new_words: int = Field(0, ge=0)
    upcycle: UpcycleSection | None = None
    lora: LoraSection | None = None

    @field_validator("overrides")
    @classmethod
    def _not_what_the_run_decides(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        decided = {"vocab_size", "freeze_vision", "pad_token_id", "bos_token_id", "eos_token_id"} & overrides.keys()
        if decided:
            raise ValueError(f"{', '.join(sorted(decided))} cannot be overridden: the run decides it")
        return overrides

    @field_validator("overrides")
    @classmethod
    def _fit_the_preset(cls, overrides: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        preset = info.data.get("preset")
        if preset is not None and overrides:
            check_overrides(PRESETS[preset], overrides)
        if info.data.get("language") is not None:
            check_composed(overrides)
        return overrides

    @field_validator("preset")
    @classmethod
    def _preset_exists(cls, preset: str | None) -> str | None:
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"there is no preset {preset!r}; there is {', '.join(sorted(PRESETS))}")
        return preset

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSection:
        origins = [self.preset, self.checkpoint, self.vision or self.language]
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("give exactly one of preset, checkpoint, and vision with language")
        if (self.vision is None) != (self.language is None):
            raise ValueError("vision and language go together: give both or neither")
        if self.overrides and self.checkpoint is not None:
            raise ValueError("overrides change a fresh model; a checkpoint is taken as it is")
        if self.upcycle and self.checkpoint is None:
            raise ValueError("upcycle needs a checkpoint to start from")
        if self.preset is not None and self.image_size is not None:
            raise ValueError("image_size changes a trained tower; a fresh one's is overrides.vision_config.image_size")
        if self.preset is not None and self.new_words:
            raise ValueError("new_words are for a trained model; a fresh one's are tokenizer.vocab_size")
        if self.new_words and self.lora is not None:
            raise ValueError("new_words have to be learned, and LoRA leaves embeddings as they are: give one of them")
        return self

    def fresh_fields(self) -> dict[str, Any]:
        """The fields of a fresh model's `VLMConfig`: the preset's, with `overrides` at any depth."""
        assert self.preset is not None
        return merged(PRESETS[self.preset], self.overrides)


class TokenizerSection(Section):
    """The tokenizer of a fresh model, trained on `texts` conversations of the world before the first step.

    With `spell`, words that stand in quotation marks or are all of an answer are a token a letter.
    """

    vocab_size: int = Field(2048, ge=512)
    texts: int = Field(20_000, ge=1)
    spell: bool = False


class TuneSection(Section):
    """What is tuned: `joint` is the tower too, `full` all but it; `auto` is chosen by `tuning.py` when the run begins.

    `because` is empty until then: a saved recipe has it, and with it what was chosen, for a resumed run to do the same.
    `fast` says whether learning rates are raised, as suits what little moves; None: where it suits.
    """

    what: Literal["auto", "joint", "full", "projector", "lora"] = "auto"
    rank: int | None = Field(None, ge=1)
    fast: bool | None = None
    because: str = ""

    @property
    def is_settled(self) -> bool:
        return bool(self.because)

    def __str__(self) -> str:
        return f"{self.what} rank {self.rank}" if self.rank else self.what
