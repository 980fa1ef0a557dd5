"""Exercises in text alone: the names that a scene or a pair shows, and questions that names answer.

What follows from names is the same whether they were seen or told, and a list costs a fraction of a picture. This file
does not know pictures.
"""

import random

from sightline.data.scenes.composing import random_pair, random_scene
from sightline.data.scenes.conversing import independent
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
MOST_ASKED = 6  # of one list, so that no row is much longer than those of pictures


def random_exercise(rng: random.Random, stock: Stock, language: str, count: int) -> tuple[str, list[Turn]]:
    """`A duck, a cat.`, a line for each picture, and up to `count` (at most `MOST_ASKED`) questions with their answers.

    Asked of the same names once more the answers are the same: no question is there twice.
    """
    while True:
        layout = rng.choice(("scatter", "grid", "pair", "pair"))
        picture = random_pair(rng, stock) if layout == "pair" else random_scene(rng, layout, stock=stock)
        kinds = PAIR_KINDS if layout == "pair" else SCENE_KINDS
        asking = Asking(rng, language)
        order = rng.sample(kinds, len(kinds))
        if found := independent(picture, asking, (language,), order, min(count, MOST_ASKED)):
            scenes = picture.scenes if isinstance(picture, Pair) else (picture,)
            told = "".join(f"{sentence(asking.listed(scene), language)}\n" for scene in scenes)
            return told, [turn for turns in found for turn in turns]
