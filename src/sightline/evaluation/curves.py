"""A curve as inline SVG that takes the page's colours: `svg`. It knows numbers, not what they mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup

__all__ = ["svg", "thin", "ticks"]

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 80, 12, 26, 30  # room for the ticks' labels around the plot
FEW = 24  # points that are also drawn one by one

Point = tuple[float, float]
Mark = tuple[float, str]
Bucket = tuple[float, float, float, float]  # x, mean, least and greatest y


def svg(
    points: Sequence[Point], span: tuple[float, float], marks: Sequence[Mark] = (), *, logarithmic: bool = False
) -> Markup:
    """The curve through `points`: the mean of neighbours as a line, their spread as a band behind it.

    Its x runs over `span`, its y from zero where that is no `logarithmic` scale. Points that are not finite, or not
    positive on such a scale, are left out. `marks` are vertical lines at an x, with a label.
    """
    usable = [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not logarithmic)]
    if not usable:
        return Markup("<p>There is nothing to draw.</p>")
    buckets = thin(usable)
    low, high = min(bucket[2] for bucket in buckets), max(bucket[3] for bucket in buckets)
    low = low if logarithmic else min(low, 0.0)
    across = _scale(*span, LEFT, WIDTH - RIGHT)
    up = _scale(low, high, HEIGHT - BOTTOM, TOP, logarithmic)
    band = [(across(x), up(top)) for x, _, _, top in buckets]
    band += [(across(x), up(bottom)) for x, _, bottom, _ in reversed(buckets)]
    line = [(across(x), up(y)) for x, y, _, _ in buckets]
    # A line through one point cannot be seen, and few points are each worth seeing.
    dots = line if len(line) <= FEW else []
    parts = [
        *_grid(_decades(low, high) if logarithmic else ticks(low, high), ticks(*span, 6), across, up),
        *(_mark(across(x), label) for x, label in marks),
        Markup('<polygon class="band" points="{}"/>').format(_places(band)),
        Markup('<polyline class="line" points="{}"/>').format(_places(line)),
        *(Markup('<circle class="point" cx="{:g}" cy="{:g}" r="2.5"/>').format(x, y) for x, y in dots),
    ]
    return Markup('<svg class="curve" viewBox="0 0 {} {}" role="img">{}</svg>').format(
        WIDTH, HEIGHT, Markup("").join(parts)
    )


def thin(points: Sequence[Point], count: int = 240) -> list[Bucket]:
    """At most `count` buckets of neighbouring points.

    >>> thin([(1, 4.0), (2, 6.0), (3, 1.0), (4, 1.0)], count=2)
    [(1.5, 5.0, 4.0, 6.0), (3.5, 1.0, 1.0, 1.0)]
    """
    size = -(-len(points) // count)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (_mean([x for x, _ in g]), _mean([y for _, y in g]), min(y for _, y in g), max(y for _, y in g)) for g in groups
    ]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between `low` and `high`: multiples of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 9.7), ticks(0.13, 0.42)
    ([0.0, 2.0, 4.0, 6.0, 8.0], [0.2, 0.3, 0.4])
    """
    span = (high - low) or abs(high) or 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    # Multiples are formed as integers, or 0.1 would be added up to 0.30000000000000004.
    return [float(f"{n * step:.10g}") for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _decades(low: float, high: float) -> list[float]:
    between = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factor in (1, 2, 5)
    ]
    found = [value for value in between if low <= value <= high]
    tens = [value for value in found if math.log10(value).is_integer()]
    return tens if len(tens) >= 3 else found


def _scale(low: float, high: float, start: float, end: float, logarithmic: bool = False) -> Callable[[float], float]:
    if logarithmic:
        inner = _scale(math.log(low), math.log(high), start, end)
        return lambda value: inner(math.log(value))
    span = (high - low) or 1.0
    return lambda value: round(start + (value - low) / span * (end - start), 1)


def _grid(
    heights: Sequence[float], steps: Sequence[float], across: Callable[[float], float], up: Callable[[float], float]
) -> Iterator[Markup]:
    for value in heights:
        y = up(value)
        yield Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, y, WIDTH - RIGHT)
        yield Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 6, y + 4, f"{value:g}")
    for value in steps:
        text = f"{value:,.10g}"
        yield Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(across(value), HEIGHT - 8, text)


def _mark(x: float, label: str) -> Markup:
    line = Markup('<path class="mark" d="M{} {}V{}"/>').format(x, TOP, HEIGHT - BOTTOM)
    return line + Markup('<text x="{}" y="{}">{}</text>').format(x + 2, TOP - 8, label)


def _places(points: Sequence[Point]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
