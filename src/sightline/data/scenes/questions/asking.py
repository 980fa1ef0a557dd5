"""How a question is put: by which random choices, in which language and wordings; and what a kind of question is.

It holds what all kinds share and none of their truths.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from sightline.data.scenes.atlas import noun_of
from sightline.data.scenes.holdout import is_held_out_count, is_held_out_shape, wordings
from sightline.data.scenes.inclusion import takes_in
from sightline.data.scenes.language import (
    COLONS,
    COLOUR_WORDS,
    NOTHING,
    PLACES,
    YES_NO,
    definite,
    indefinite,
    listed,
    measure,
    name,
    noted,
    plural,
    sentence,
)
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.scene import COLOURS, SHAPES, Identity, Item, Place, Scene

__all__ = ["COUNT_WEIGHTS", "DULL_SHARE", "OBJECT_AXES", "Asking", "Kind", "QuestionAnswer", "Turn", "absent"]

Turn = tuple[str, str]  # a question and its answer
QuestionAnswer = Turn | None

# Of the counts that a scene offers: high ones are rare in scenes and would be rarer in questions.
COUNT_WEIGHTS = (1, 1, 4, 8, 12, 16, 4, 4, 2, 2)
DULL_SHARE = 0.8  # how often no count is asked for where it could but be none or one
# The axes on which a question about objects can be asked of what is held out.
OBJECT_AXES = ("combination", "phrasing", "artist")


@dataclass(frozen=True)
class Asking:
    """`axis` is what the test keeps apart (see holdout): it decides the wordings and what may be mentioned.

    `wanted` is the count to ask for, where a test wants its counts even; None: what the scene has.
    """

    rng: random.Random
    language: str
    axis: str = "seen"
    wanted: int | None = None

    def phrase(self, key: str, identity: Identity | None = None, **fields: str) -> str:
        """One of the wordings of a kind, or of kind/variant, with its fields filled."""
        if identity:
            fields |= {
                "a": indefinite(identity, self.language),
                "the": definite(identity, self.language),
                "name": name(identity, self.language),
                "plural": plural(identity, self.language),
                "measure": measure(identity),
            }
        fitting = wordings(PHRASINGS[key][self.language], self.axis == "phrasing")
        return self.rng.choice(fitting).format(**fields)

    def yes_no(self, verb: str, holds: bool) -> str:
        return YES_NO[verb][self.language][holds]

    def say(self, item: Item | None) -> str:
        """`A duck.`, or `Nothing.`"""
        return sentence(indefinite(item.identity, self.language) if item else NOTHING[self.language], self.language)

    def the(self, item: Item) -> str:
        """`The duck.`"""
        return sentence(definite(item.identity, self.language), self.language)

    def is_at(self, item: Item) -> str:
        """`The duck is at the top left.`, and what parts it from the next sentence."""
        named, place = definite(item.identity, self.language), self.place(item)
        if self.language == "en":
            return f"{sentence(f'{named} is {place}', 'en')} "
        return sentence(f"{named}在{place}", "zh")

    def found_at(self, empty: Sequence[Place], item: Item) -> str:
        """`At the top nothing, at the top left is a duck.`, where the places looked at before were `empty`."""
        named, place = indefinite(item.identity, self.language), self.place(item)
        names = [PLACES[self.language][row][col] for row, col in empty]
        if self.language == "en":
            return sentence(", ".join([*(f"{name} nothing" for name in names), f"{place} is {named}"]), "en")
        return sentence("，".join([*(f"{name}没有" for name in names), f"{place}是{named}"]), "zh")

    def place(self, item: Item) -> str:
        return PLACES[self.language][item.row][item.col]

    def listed(self, scene: Scene, notes: Mapping[Place, str] = MappingProxyType({})) -> str:
        """`A duck (1), a cat`: all objects in reading order, with what is noted of the one at a place."""
        names = [
            noted(listed(item.identity, self.language), notes.get(item.place, ""), self.language)
            for item in scene.objects
        ]
        if self.language == "zh":
            return "、".join(names)
        told = ", ".join(names)
        return f"{told[0].upper()}{told[1:]}"

    def tally(self, scene: Scene, counted: Sequence[Item]) -> str:
        """How many, after a list of all objects that numbers those counted: `A duck (1), a cat, a duck (2): 2`."""
        numbers = {item.place: str(number) for number, item in enumerate(counted, start=1)}
        return f"{self.listed(scene, numbers)}{COLONS[self.language]}{len(counted)}"

    def colour(self, colour: str) -> str:
        return COLOUR_WORDS[self.language][colour]

    def balanced(self, counts: Mapping[Identity, int], none: Sequence[Identity]) -> Identity | None:
        """What to count, of which there are so many: rarer counts come oftener, or most answers would be one.

        `none` are names of which there are none. On the axis "count", only counts that training never sees.
        """
        if self.axis == "count":
            counts, none = {key: count for key, count in counts.items() if is_held_out_count(key, count)}, ()
        numbers = sorted({*([0] if none else []), *counts.values()})
        if self.wanted is not None:
            numbers = [number for number in numbers if number == self.wanted]
        dull = self.axis != "count" and self.wanted is None and max(numbers, default=0) < 2
        if not numbers or (dull and self.rng.random() < DULL_SHARE):
            return None
        count = self.rng.choices(numbers, [COUNT_WEIGHTS[number] for number in numbers])[0]
        if count == 0:
            return self.rng.choice(none)
        return self.rng.choice([key for key, number in counts.items() if number == count])

    def may_mention(self, identity: Identity) -> bool:
        """Whether the name is on the axis's side: a coloured shape that training never sees, or that it does."""
        if identity[0] == "thing" or "" in identity:
            return True
        return is_held_out_shape(identity[1], identity[2]) == (self.axis == "combination")


@dataclass(frozen=True)
class Kind:
    """A kind of question: how it is asked of a picture, of which layouts, and on which axes of a test.

    `ask` gives one turn, or a list of turns, or None where the question would be ambiguous or pointless. A kind
    may be asked `most` times of one picture, if another object or wording makes it a different question. A kind that
    `counts` can be asked for a count that is wanted.
    """

    ask: Callable[[Any, Asking], QuestionAnswer | list[Turn]]
    layouts: tuple[str, ...]
    axes: tuple[str, ...] = OBJECT_AXES
    most: int = 4
    counts: bool = False


def absent(scene: Scene, asking: Asking, sort: str | None = None) -> Identity:
    """Something not in the scene in any sense, often near to something that is: its category, its colour or its shape.

    `sort` is "thing" or "shape", where only one of them will do; empty if all that could be asked about are there.
    """
    present = {item.identity for item in scene.objects}
    near = asking.rng.choice(sorted(name for name in present if sort in (None, name[0])) or [()])
    if sort == "thing" or near[:1] == ("thing",):
        hard = near and asking.rng.random() < 0.5
        pool = _things(scene.vocabulary, noun_of(near[1]).category if hard else "")
    else:
        pool = tuple(name for name in _ALL_SHAPES if not near or near[1] == name[1] or near[2] == name[2])
    for candidates in (pool, _things(scene.vocabulary, "") if sort == "thing" else _ALL_SHAPES):
        # A very small vocabulary may be wholly in the picture, and so may the few coloured shapes that are held out.
        fitting = [name for name in candidates if name not in present and asking.may_mention(name)]
        if fitting := [name for name in fitting if not takes_in(name, present)]:
            return asking.rng.choice(fitting)
    return ()


_ALL_SHAPES: tuple[Identity, ...] = tuple(("shape", colour, shape) for colour in COLOURS for shape in SHAPES)


@lru_cache(maxsize=256)
def _things(vocabulary: tuple[str, ...], category: str) -> tuple[Identity, ...]:
    return tuple(("thing", thing) for thing in vocabulary if category in ("", noun_of(thing).category))
