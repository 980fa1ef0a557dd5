"""Which names stand together, so that there is something to ask: five ducks, two rivals, one odd one out.

A pattern is a function of (rng, how many objects, stock) that plans some or all of the names; the rest are drawn
at random. This file does not know places.
"""

import random
from collections.abc import Callable

from sightline.data.scenes.scene import CELLS, Identity
from sightline.data.scenes.stock import Stock

__all__ = ["PATTERNS", "random_pattern"]

Plan = list[Identity]

# How often a crowd is so many. Four and five would else be rarer than eight, which is all but one of a full grid.
CROWDS = {2: 2, 3: 3, 4: 5, 5: 6, 6: 1, 7: 1, 8: 1, 9: 1}


def _name(rng: random.Random, stock: Stock, avoid: Plan) -> Identity:
    return stock.draw(rng, rng.choice(CELLS), avoid)


def _mixed(rng: random.Random, count: int, stock: Stock) -> Plan:
    """As different as can be."""
    return []


def _repeats(rng: random.Random, count: int, stock: Stock) -> Plan:
    """A few names, each some times."""
    pool: Plan = []
    for _ in range(rng.randint(2, 4)):
        pool.append(_name(rng, stock, pool))
    return rng.choices(pool, k=count)


def _crowd(rng: random.Random, count: int, stock: Stock) -> Plan:
    """Many of one name."""
    many = rng.choices(list(CROWDS), list(CROWDS.values()))[0]
    return [_name(rng, stock, [])] * min(many, count)


def _rivals(rng: random.Random, count: int, stock: Stock) -> Plan:
    """Two names, of which there may be more of one than of the other."""
    one = _name(rng, stock, [])
    share = rng.randint(1, count - 1)
    return [one] * share + [_name(rng, stock, [one])] * rng.randint(1, count - share)


def _odd(rng: random.Random, count: int, stock: Stock) -> Plan:
    """All the same but one."""
    many = _name(rng, stock, [])
    return [*[many] * (count - 1), _name(rng, stock, [many])]


def _kin(rng: random.Random, count: int, stock: Stock) -> Plan:
    """Different things of one category, and one that is of another."""
    fitting = [things for things in stock.categories.values() if len(things) >= count - 1]
    if not fitting:
        return []
    things = rng.choice(fitting)
    return [*(("thing", thing) for thing in rng.sample(things, count - 1)), _name(rng, stock, [])]


def _category(rng: random.Random, count: int, stock: Stock) -> Plan:
    """Some things of one category."""
    if not stock.categories:
        return []
    things = rng.choice(list(stock.categories.values()))
    return [("thing", rng.choice(things)) for _ in range(rng.randint(1, count))]


def _palette(rng: random.Random, count: int, stock: Stock) -> Plan:
    """Plain shapes, in few colours or of few outlines."""
    part, kinds = rng.choice((1, 2)), rng.randint(1, 3)
    some = {name[part] for name in rng.sample(stock.shapes, kinds)}
    pool = [name for name in stock.shapes if name[part] in some]
    # Of few names there are many each: coloured shapes to be counted.
    return rng.choices(rng.sample(pool, min(len(pool), rng.randint(2, 4))), k=count)


def _planted(rng: random.Random, count: int, stock: Stock) -> Plan:
    """As many of one name as training never shows."""
    fitting = [pair for pair in stock.unseen_counts if pair[1] <= count]
    if not fitting:
        return []
    asked, many = rng.choice(fitting)
    return [asked if asked[0] == "thing" else stock.shape(rng, asked) for _ in range(many)]


PATTERNS: dict[str, Callable[[random.Random, int, Stock], Plan]] = {
    "mixed": _mixed,
    "repeats": _repeats,
    "crowd": _crowd,
    "rivals": _rivals,
    "odd": _odd,
    "kin": _kin,
    "category": _category,
    "palette": _palette,
    "planted": _planted,
}
# How often a pattern is taken, and for how many objects it makes sense.
SHARES = {
    "mixed": (0.2, 1),
    "repeats": (0.12, 3),
    "crowd": (0.26, 2),
    "rivals": (0.1, 2),
    "odd": (0.09, 3),
    "kin": (0.09, 4),
    "category": (0.07, 2),
    "palette": (0.13, 2),
}


def random_pattern(rng: random.Random, count: int, stock: Stock) -> str:
    """One that suits so many objects; where a test asks for unseen counts, the one that plants them."""
    if stock.axis == "count":
        return "planted"
    fitting = {pattern: share for pattern, (share, fewest) in SHARES.items() if fewest <= count}
    if not stock.shape_share:
        fitting.pop("palette", None)
    return rng.choices(list(fitting), list(fitting.values()))[0]
