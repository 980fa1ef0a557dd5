"""What an answer comes to: the number, name or yes behind the evidence that it writes out first (decision 0012)."""

__all__ = ["RESULT_MARKS", "result_of"]

_TALLY = (": ", "：")
_SENTENCE = (". ", "。")
# By kind, what its result stands behind, in English and in Chinese.
RESULT_MARKS = {
    **dict.fromkeys(("count_thing", "count_both", "count_shape", "count_colour", "category_count"), _TALLY),
    **dict.fromkeys(("same_different", "added", "removed"), _SENTENCE),
    "nearest": (" is ", "是"),
    "odd_one_out": (" but ", "，只有"),
    "chart_total": (" = ",),
    "chart_more": (", ", "，"),
}


def result_of(kind: str, answer: str) -> str:
    """What `answer` says behind its last piece of evidence; all of it, where the kind has none or it writes none.

    >>> result_of("count_thing", "A duck (1), a cat, a duck (2): 2"), result_of("chart_more", "7 > 1，是。")
    ('2', '是。')
    >>> result_of("added", "第一张：一只鸭子，第二张：一只猫独有和一只鸭子也有。一只猫。")
    '一只猫。'
    >>> result_of("name", "A duck.")
    'A duck.'
    """
    said = answer.strip()
    # A stop at the very end parts nothing.
    behind = [
        said.rfind(mark, 0, len(said) - 1) + len(mark) for mark in RESULT_MARKS.get(kind, ()) if mark in said[:-1]
    ]
    return said[max(behind, default=0) :]
