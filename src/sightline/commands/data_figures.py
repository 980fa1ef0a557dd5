"""How `sightline data` prints what it found: a report, and figures as bars. It decides nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.data.check import Report
    from sightline.data.numbers import Numbers
    from sightline.data.statistics import Statistics
    from sightline.data.tops import Tops

__all__ = ["print_figures", "print_report"]

WIDTH = 28  # characters of the longest bar
FEW = 10  # answers and questions that are printed


def print_report(found: Report, model: str, most: int) -> None:
    """The report in a terminal's width: counts by kind, `most` problems one by one, and figures."""
    print(f"{found.path}: {_rows(found.rows)}; {found.format}")
    # Bad ones first, and of each kind the first ones: a thousand of one kind shall not hide the others.
    for line in _listed(found, most):
        print(line)
    _table(
        ["problem", "count", ""],
        [[kind, f"{count:,}", "bad" if _is_bad(kind) else ""] for kind, count in found.counts.items()],
    )
    for line in _figures(found, model):
        print(line)
    print(f"bad: {len(found.bad):,} of {_rows(found.rows)}; warnings: {found.warnings:,}")


def _is_bad(kind: str) -> bool:
    from sightline.data.check import KINDS

    return KINDS[kind]


def _listed(found: Report, most: int) -> Iterator[str]:
    by_kind = {kind: [one for one in found.findings if one.kind == kind] for kind in found.counts}
    rank = {id(one): number for held in by_kind.values() for number, one in enumerate(held)}
    chosen = sorted(found.findings, key=lambda one: (not one.bad, rank[id(one)]))[:most]
    for one in sorted(chosen, key=lambda one: (not one.bad, one.row)):
        yield f"  {'bad' if one.bad else '   '}  {one.where}: {one.kind}: {one.text}"
    left = sum(found.counts.values()) - len(chosen)
    if left:
        yield f"       ... and {left:,} more (--list, --report FILE)"


def _figures(found: Report, model: str) -> Iterator[str]:
    pictures, tokens, split = found.pictures, found.tokens, found.split
    if pictures["different"]:
        sides = f"shorter side {_range(pictures['shorter_side'])} pixels"
        yield f"pictures: {pictures['different']:,} different, {sides}; {_rows(pictures['rows_without'])} without"
    if tokens["row"]["total"]:
        yield (
            f"tokens ({model}): {_range(tokens['row'])} a row, {_range(tokens['answer'])} an answer; "
            f"{tokens['of_pictures']:.0%} stand for pictures, {tokens['with_loss']:.1%} carry loss"
        )
    if tokens["pieces_of_characters"] > 0.02:
        yield f"{tokens['pieces_of_characters']:.0%} of the answers' tokens are only pieces of characters"
    if tokens["warning"]:
        yield f"warning: {tokens['warning']}"
    if split["held_out"] and split["train"]:
        across = split["near_copies_across"]
        yield (
            f"{split['own'] or 'by picture, held_out=' + str(split['share'])} holds out {_rows(split['held_out'])} of "
            f"{split['held_out'] + split['train']:,}"
            + (f"; {across:,} pictures of them look like one that is learned from" if across else "")
        )


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _range(figures: dict[str, int]) -> str:
    if figures["least"] == figures["most"]:
        return f"{figures['most']:,}"
    return f"{figures['least']:,} to {figures['most']:,} (median {figures['median']:,})"


def print_figures(found: Statistics) -> None:
    """The figures as bars."""
    print(f"{found.path}: {_rows(found.rows)}; {found.format}")
    if found.unread:
        print(f"{_rows(found.unread)} cannot be read: see sightline data check")
    _print_tops("answers", found.answers)
    _print_tops("questions", found.questions)
    for name, numbers in found.numbers.items():
        _print_numbers(name, numbers)
    guessed = found.guessed()
    if guessed is not None:
        print(f"guessed: {guessed:.1%} right without looking, by giving each question its most frequent answer")


def _print_tops(name: str, tops: Tops[str]) -> None:
    first = tops.first(FEW)
    if not first:
        return
    print(f"\n{name}: {'' if tops.exact else 'more than '}{len(tops.counts):,} different")
    rows = [
        [_short(text), _bar(count, first[0][1]), f"{count:,}", f"{count / tops.total:.1%}"] for text, count in first
    ]
    _table(["", "", "", ""], rows)


def _print_numbers(name: str, numbers: Numbers) -> None:
    if not len(numbers):
        return
    figures, bins = numbers.as_dict(), numbers.bins(10)
    print(f"\n{name}: {_range(figures)}, 95 % up to {figures['p95']:,}")
    if len(bins) > 1:
        highest = max(one.held for one in bins)
        labels = [f"{one.low:,}" if one.low == one.high else f"{one.low:,} to {one.high:,}" for one in bins]
        rows = zip(labels, bins, strict=True)
        _table(["", "", ""], [[label, _bar(one.held, highest), f"{one.held:,}"] for label, one in rows])


def _bar(count: int, highest: int) -> str:
    """As long as `count` in eighths of a character, and at least one of them."""
    eighths = max(1, round(8 * WIDTH * count / highest)) if count else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _short(text: str, limit: int = 32) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(header))
    for number, name in enumerate(header):
        table.add_column(name, no_wrap=True, justify="left" if number == 0 or not name else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # What is not a terminal has no width to be cut to.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
