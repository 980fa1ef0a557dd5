"""What all sections of a recipe share: unknown keys are errors, and an error is one line with the nearest key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["WHOLE", "Misplaced", "Section", "first_problem", "hint", "keys_of", "merged"]

# Names chosen freely: a mapping of them is one value, and another takes its place as a whole.
WHOLE = ("mix", "layouts", "lr_scale")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Misplaced(ValueError):
    """What is wrong inside a mapping that is no section: `message` follows the place, `keys` below the mapping."""

    def __init__(self, keys: tuple[str, ...], message: str):
        super().__init__(message)
        self.keys = keys


def first_problem(error: ValidationError, section: type[Section], under: str = "") -> str:
    """The first thing wrong in what should have been a `section`, and its place below `under`."""
    problems = error.errors()
    # An unknown key first: where it was to be a known one, that one is missing only because of it.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    raised = problem.get("ctx", {}).get("error")
    below = raised.keys if isinstance(raised, Misplaced) else ()
    place = ".".join(str(part) for part in (under, *problem["loc"], *below) if part != "")
    if problem["type"] == "extra_forbidden":
        *path, key = problem["loc"]
        return f"{place} is no key of a recipe{hint(str(key), _section_at(section, path).model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    if below:
        return f"{place} {message}"
    return f"{place}: {message}" if problem["loc"] else message


def hint(name: str, known: Iterable[str]) -> str:
    """What to say after `name` is said to be unknown: the nearest known name, where one is near."""
    nearest = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; a mapping inside both is merged likewise, except one of names chosen freely."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict) and key not in WHOLE
        result[key] = merged(result[key], value) if nested else value
    return result


def _section_at(section: type[BaseModel], path: Iterable[str | int]) -> type[BaseModel]:
    for key in path:
        if isinstance(key, str):
            section = next(_sections_in(section.model_fields[key].annotation))
    return section


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inner := get_args(annotation):
        for one in inner:
            yield from _sections_in(one)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def keys_of(section: type[BaseModel]) -> Iterator[str]:
    """The keys of all sections that are defined from `section`."""
    for one in section.__subclasses__():
        yield from one.model_fields
        yield from keys_of(one)
