"""The data sections of a recipe: how much of the built-in world is read, and which files, of which what is held out.

They check what is written; nothing is opened here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from sightline.data.readers import Format
from sightline.data.scenes.atlas import check_name, nouns
from sightline.data.scenes.world import KINDS, LAYOUTS
from sightline.training.sections import Section

__all__ = ["DataSection", "FileSource", "Weight", "WorldSource"]


def _auto_or_share(given: Any) -> Any:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if given == "auto" or (is_number and 0 <= given < 1):
        return given
    raise ValueError(f"is auto, or a share from 0 up to, but not, 1: {given!r} is neither")


CAPTIONS = ("list", "describe", "describe_short", "text_describe", "chart_describe")
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
HeldOut = Annotated[Literal["auto"] | float, BeforeValidator(_auto_or_share)]


class WorldSource(Section):
    """What the built-in world shows, and how often against the files (`weight`).

    Every picture has up to `questions` questions, `mix` weights their kinds, `layouts` the pictures', and
    `grid_share` of the pictures are full grids. In place of `exercises` of all pictures stand lists in text alone.
    """

    weight: float = Field(1.0, ge=0)
    things: int | None = Field(None, ge=2)
    languages: tuple[Literal["en", "zh"], ...] = ("en", "zh")
    mix: dict[str, Weight] = Field(default_factory=dict)
    layouts: dict[str, Weight] = Field(default_factory=dict)
    grid_share: float = Field(0.2, ge=0, le=1)
    questions: int = Field(8, ge=1)
    exercises: float = Field(0.0, ge=0, le=1)

    def captions(self) -> WorldSource:
        """The same world, of which nothing is asked but what its pictures show."""
        mix = {kind: self.mix.get(kind, 1.0) if kind in CAPTIONS else 0.0 for kind in KINDS}
        return self.model_copy(update={"mix": mix, "grid_share": 0.0, "exercises": 0.0})

    @field_validator("things")
    @classmethod
    def _in_the_atlas(cls, things: int | None) -> int | None:
        if things is not None and things > len(nouns()):
            raise ValueError(f"the atlas has {len(nouns())} things, not {things}")
        return things

    @field_validator("mix")
    @classmethod
    def _known_kinds(cls, mix: dict[str, float]) -> dict[str, float]:
        return {check_name("kind", kind, KINDS): weight for kind, weight in mix.items()}

    @field_validator("layouts")
    @classmethod
    def _known_layouts(cls, layouts: dict[str, float]) -> dict[str, float]:
        return {check_name("layout", layout, LAYOUTS): weight for layout, weight in layouts.items()}


class FileSource(Section):
    """Data of a user's, as `open_data` takes it: a file, a folder or a dataset of the hub.

    `held_out`, a share of its pictures or "auto" (the section's where it is not given), and all that is asked about
    them, is not trained on; nor is `validation`, data of the same format that is held out instead. `metric` says when
    an answer to a row that names none itself is right; None: multiple choice where it has choices, else exact match.
    """

    path: str
    format: Format | None = None
    image_column: str | None = None
    question_column: str | None = None
    answer_column: str | None = None
    prompt: str | None = None
    image_folder: str | None = None
    limit: int | None = Field(None, ge=1)
    streaming: bool = False
    held_out: HeldOut | None = None
    validation: str | None = None
    metric: Literal["exact", "contains", "anls", "choice"] | None = None
    weight: float = Field(1.0, gt=0)

    def options(self) -> dict[str, Any]:
        """What `open_data` takes beside the path."""
        return self.model_dump(exclude={"path", "weight", "held_out", "validation", "metric"})


class DataSection(Section):
    """What is read: the built-in world, files, or a mixture; `held_out` is for files that do not say it themselves."""

    world: WorldSource | None = None
    held_out: HeldOut = "auto"
    files: tuple[FileSource, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> DataSection:
        if not self.files and (self.world is None or self.world.weight == 0):
            raise ValueError("there is nothing to read: give world, files or both")
        return self

    def captions(self) -> DataSection:
        """The same, with nothing but captions from the world."""
        return self.model_copy(update={"world": self.world and self.world.captions()})

    def with_shares(self) -> DataSection:
        """The same, with the share of `held_out` in every file that does not say its own."""
        own = (
            one if one.held_out is not None else one.model_copy(update={"held_out": self.held_out})
            for one in self.files
        )
        return self.model_copy(update={"files": tuple(own)})
