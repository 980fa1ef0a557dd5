"""What is asked of a chart: the extremes, a value, a label, the total, the number of parts, a comparison.

A question is left out where equal values would give it two answers. Labels answer as they are printed, values in
digits, both without a full stop. A total and a comparison name the values that they follow from first, and a total
adds two numbers at a time: a model that writes one token after the other has what it needs when it comes to the
result. It does not know how a chart is drawn.
"""

import random
from itertools import accumulate

from sightline.data.scenes.charts import Bars, Pie
from sightline.data.scenes.panel_phrasings import Found, compared

__all__ = ["CHART_KINDS"]

Chart = Bars | Pie


def _with_value(chart: Chart, value: int) -> list[str]:
    return [entry.label for entry in chart.entries if entry.value == value]


def _extreme(chart: Chart, value: int, language: str) -> Found | None:
    labels = _with_value(chart, value)
    return (chart.words[language], labels[0]) if len(labels) == 1 else None


def _tallest(chart: Chart, rng: random.Random, language: str) -> Found | None:
    return _extreme(chart, max(entry.value for entry in chart.entries), language)


def _smallest(chart: Chart, rng: random.Random, language: str) -> Found | None:
    return _extreme(chart, min(entry.value for entry in chart.entries), language)


def _value(chart: Chart, rng: random.Random, language: str) -> Found | None:
    entry = rng.choice(chart.entries)
    return {**chart.words[language], "label": entry.label}, str(entry.value)


def _label(chart: Chart, rng: random.Random, language: str) -> Found | None:
    alone = [entry for entry in chart.entries if len(_with_value(chart, entry.value)) == 1]
    if not alone:
        return None
    entry = rng.choice(alone)
    return {**chart.words[language], "value": str(entry.value)}, entry.label


def _total(chart: Chart, rng: random.Random, language: str) -> Found | None:
    values = [entry.value for entry in chart.entries]
    sums = list(accumulate(values))
    steps = [f"{before} + {value} = {after}" for before, value, after in zip(sums, values[1:], sums[1:], strict=False)]
    return chart.words[language], ", ".join(steps)


def _count(chart: Chart, rng: random.Random, language: str) -> Found | None:
    return chart.words[language], str(len(chart.entries))


def _more(chart: Chart, rng: random.Random, language: str) -> Found | None:
    one, other = rng.sample(chart.entries, 2)
    if one.value == other.value:
        return None
    fields = {**chart.words[language], "label": one.label, "other": other.label}
    return fields, compared(one.value, other.value, language)


def _describe(chart: Chart, rng: random.Random, language: str) -> Found | None:
    return {}, chart.describe(language)


CHART_KINDS = {
    "chart_tallest": _tallest,
    "chart_smallest": _smallest,
    "chart_value": _value,
    "chart_label": _label,
    "chart_total": _total,
    "chart_count": _count,
    "chart_more": _more,
    "chart_describe": _describe,
}
