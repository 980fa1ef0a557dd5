"""Names that take in others: a top hat is a hat, and who is shown one is not told that there is no hat.

What bears two names would be counted by both, so that no scene shows a thing beside one that takes it in, and neither
do the two pictures of a pair. What is a part of a drawing, such as a house's door, is no object. This file does not
know scenes or questions.
"""

from collections.abc import Collection

from sightline.data.scenes.scene import Identity

__all__ = ["NARROWER", "are_distinct", "takes_in"]

# Things, and shapes by their outline. In either language: a helicopter is a 飞机 but no plane, a soccer ball is a
# football but no 橄榄球, a beer mug is a 酒杯, a whale (鲸鱼) is named as a fish and scissors (剪刀) as a knife.
NARROWER: dict[str, frozenset[str]] = {
    wide: frozenset(narrow.split())
    for wide, narrow in {
        "bear": "panda koala",
        "candy": "lollipop",
        "cup": "beer-mug wine-glass trophy",
        "diamond": "gem",
        "fish": "shark whale",
        "football": "soccer-ball",
        "hat": "top-hat",
        "knife": "pair-of-scissors",
        "plane": "helicopter",
        "shoe": "high-heel",
        "telephone": "mobile-phone",
        "tree": "palm-tree christmas-tree",
        "wine-glass": "beer-mug",
    }.items()
}


def takes_in(asked: Identity, present: Collection[Identity]) -> bool:
    """Whether something of another name is, in a wider sense, what is asked for.

    >>> takes_in(("thing", "hat"), [("thing", "top-hat")])
    True
    >>> takes_in(("thing", "top-hat"), [("thing", "hat")])
    False
    """
    narrower = NARROWER.get(asked[-1], frozenset())
    return any(name[-1] in narrower for name in present)


def are_distinct(names: Collection[Identity]) -> bool:
    """Whether no name takes in another one."""
    return not any(takes_in(name, names) for name in names)
