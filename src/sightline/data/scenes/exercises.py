"""Exercises in text alone: the names that a scene or a pair shows, and questions that names answer.

What follows from names is the same whether they were seen or told, and a list costs a fraction of a picture. This file
does not know pictures.
"""

from collections.abc import Collection, Mapping

from sightline.data.scenes.composing import random_pair, random_scene
from sightline.data.scenes.conversing import independent, weighted_order
from sightline.data.scenes.language import sentence
from sightline.data.scenes.questions import Asking, Turn
from sightline.data.scenes.scene import Pair
from sightline.data.scenes.stock import Stock

__all__ = ["random_exercise"]

# What names answer, wherever the objects stand; of a scene, of a pair.
SCENE_KINDS = (
    *("count_thing", "count_both", "count_shape", "count_colour", "category_count", "category_which"),
    *("odd_one_out", "more"),
)
PAIR_KINDS = ("added", "removed", "same_different", "which_picture")
KINDS_OF = {"scatter": SCENE_KINDS, "grid": SCENE_KINDS, "pair": PAIR_KINDS}
LAYOUTS = ("scatter", "grid", "pair", "pair")  # half are pairs
ATTEMPTS = 400
MOST_ASKED = 6  # of one list, so that no row is much longer than those of pictures


def random_exercise(
    stock: Stock, asking: Asking, count: int, mix: Mapping[str, float], layouts: Collection[str]
) -> tuple[str, list[Turn]]:
    """`A duck, a cat.`, a line for each picture, and up to `count` (at most `MOST_ASKED`) questions with their answers.

    Only kinds of `mix` are asked, those of more weight sooner, of `layouts`. No question is there twice.

    Raises:
        ValueError: names answer none of the kinds, or they go with none of `layouts`.
    """
    of = {layout: [kind for kind in KINDS_OF[layout] if mix.get(kind, 0.0) > 0] for layout in LAYOUTS}
    if not (fitting := [layout for layout in LAYOUTS if of[layout] and layout in layouts]):
        raise ValueError("exercises ask what names answer, and `mix` and `layouts` leave none of it")
    rng = asking.rng
    for _ in range(ATTEMPTS):
        layout = rng.choice(fitting)
        picture = random_pair(rng, stock) if layout == "pair" else random_scene(rng, layout, stock=stock)
        order = weighted_order(rng, of[layout], mix)
        if found := independent(picture, asking, (asking.language,), order, min(count, MOST_ASKED)):
            scenes = picture.scenes if isinstance(picture, Pair) else (picture,)
            told = "".join(f"{sentence(asking.listed(scene), asking.language)}\n" for scene in scenes)
            return told, [turn for turns in found for turn in turns]
    raise ValueError(f"no list suits the questions that are asked, {', '.join(mix)}: let `mix` have others")
