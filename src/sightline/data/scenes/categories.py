"""Kinds of things that everybody agrees on: animals, food, vehicles. What is doubtful is said to be.

A question about a category is asked only where nothing doubtful for it is in sight: a crab may or may not be
food. The atlas's own `category` sorts the vocabulary for drawing and is too rough to be asked about. This file
does not know scenes or wordings.
"""

from dataclasses import dataclass
from functools import cache

from sightline.data.scenes.atlas import nouns
from sightline.data.scenes.scene import Identity

__all__ = ["CATEGORIES", "Category", "belongs", "members"]


@dataclass(frozen=True)
class Category:
    """Names of a category in both languages, its Chinese measure word, and the ids of its things.

    `atlas` takes a whole category of the atlas, less the doubtful; `doubtful` things are neither in nor out.
    """

    a: str
    plural: str
    zh: str
    zh_measure: str
    things: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    atlas: str = ""


def _ids(names: str) -> frozenset[str]:
    return frozenset(names.split())


CATEGORIES = {
    "animal": Category("an animal", "animals", "动物", "只", doubtful=_ids("ghost alien snowman"), atlas="animal"),
    "food": Category(
        *("a food", "food", "食物", "种"),
        doubtful=_ids(
            "cup wine-glass beer-mug pumpkin pill mushroom fish crab octopus shark whale turtle snail frog snake "
            "crocodile duck chick cow pig rabbit horse camel"
        ),
        atlas="food",
    ),
    "vehicle": Category("a vehicle", "vehicles", "交通工具", "个", doubtful=_ids("shopping-cart"), atlas="vehicle"),
    "fruit": Category(
        *("a fruit", "fruits", "水果", "个"),
        things=_ids("apple banana bunch-of-grapes watermelon strawberry lemon pineapple pear"),
        doubtful=_ids("avocado eggplant pumpkin cake lollipop candy ice-cream"),
    ),
    "clothing": Category(
        *("something to wear", "things to wear", "可以穿戴的东西", "件"),
        things=_ids("shirt dress shoe pair-of-jeans hat top-hat high-heel pair-of-glasses crown ring watch"),
        doubtful=_ids("backpack handbag lipstick"),
    ),
    "instrument": Category(
        *("a musical instrument", "musical instruments", "乐器", "件"),
        things=_ids("guitar drum trumpet saxophone"),
        doubtful=_ids("bell microphone"),
    ),
    "ball": Category(
        *("a ball", "balls", "球", "个"),
        things=_ids("soccer-ball basketball baseball football"),
        doubtful=_ids("balloon"),
    ),
    "bird": Category("a bird", "birds", "鸟", "只", things=_ids("duck owl penguin chick"), doubtful=_ids("bat")),
    "insect": Category(
        *("an insect", "insects", "昆虫", "只"),
        things=_ids("butterfly bee ladybug"),
        doubtful=_ids("spider snail"),
    ),
}


@cache
def members(category: str) -> frozenset[str]:
    """The ids of the things that are of the category beyond doubt."""
    row = CATEGORIES[category]
    return row.things | {noun.id for noun in nouns() if noun.category == row.atlas} - row.doubtful


def belongs(identity: Identity, category: str) -> bool | None:
    """Whether an object is of the category; None where that is doubtful. No plain shape is."""
    if identity[0] == "thing" and identity[1] in CATEGORIES[category].doubtful:
        return None
    return identity[0] == "thing" and identity[1] in members(category)
