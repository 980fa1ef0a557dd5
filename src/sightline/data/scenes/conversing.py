"""Which questions are asked of a picture, and in which order: one conversation, or many about the same picture.

It does not know how pictures come about. Kinds come as an order of preference; a kind that does not fit the
picture is passed over.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sightline.data.scenes.pictures import Picture
from sightline.data.scenes.questions import KINDS, Asking, Turn, ask

__all__ = ["conversation", "independent", "weighted_order"]


def weighted_order(rng: random.Random, kinds: Sequence[str], mix: Mapping[str, float]) -> list[str]:
    """The kinds in a random order, heavier ones tending to come first, those of weight zero left out."""
    # Sampling without replacement by sorting u^(1/weight) (Efraimidis and Spirakis, 2006).
    weights = {kind: mix.get(kind, 1.0) for kind in kinds}
    keys = {kind: rng.random() ** (1 / weight) for kind, weight in weights.items() if weight > 0}
    return sorted(keys, key=keys.__getitem__, reverse=True)


def independent(
    picture: Picture, asking: Asking, languages: Sequence[str], order: Sequence[str], count: int
) -> list[list[Turn]]:
    """Up to `count` different conversations, each in a language of its own; most are of one turn."""
    found: dict[str, list[Turn]] = {}
    for number in range(max((KINDS[kind].most for kind in order), default=0)):
        for kind in order:
            if len(found) < count and number < KINDS[kind].most:
                turns = ask(kind, picture, replace(asking, language=asking.rng.choice(languages)))
                # The same opening may lead to different dialogues, but the same question has one answer.
                found |= {" ".join(question for question, _ in turns): turns} if turns else {}
    return list(found.values())


def conversation(picture: Picture, asking: Asking, order: Sequence[str], questions: int) -> list[Turn]:
    """Different questions, of as many kinds as there are, in random order; a dialogue if that comes first."""
    if order and order[0] == "dialogue":
        return ask("dialogue", picture, asking)[:questions]
    turns: dict[str, str] = {}
    # Kinds whose wording alone varies come once; the others may come again about another object.
    order = [kind for kind in order if kind != "dialogue"]
    for kind in [*order, *(kind for kind in order if KINDS[kind].most > 1)]:
        if len(turns) == questions:
            break
        for question, answer in ask(kind, picture, asking):
            turns.setdefault(question, answer)
    shuffled = list(turns.items())
    asking.rng.shuffle(shuffled)
    return shuffled
