"""What all sections of a recipe share: unknown keys are errors, and an error is one line with the nearest key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Section", "first_problem", "keys_of"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def first_problem(error: ValidationError, under: str = "") -> str:
    """The first thing wrong, and its place below `under`."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in (under, *problem["loc"]) if part != "")
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{place}: {message}" if problem["loc"] else message
    nearest = difflib.get_close_matches(str(problem["loc"][-1]), sorted(keys_of(Section)), n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"{place} is no key of a recipe{hint}"


def keys_of(section: type[BaseModel]) -> Iterator[str]:
    """The keys of all sections that are defined from `section`."""
    for one in section.__subclasses__():
        yield from one.model_fields
        yield from keys_of(one)
