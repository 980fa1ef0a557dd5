"""Drafts are what followed before."""

from hypothesis import given
from hypothesis import strategies as st

from sightline.engine.drafting import LONGEST, PromptLookup


def test_what_followed_the_last_words_is_drafted():
    assert PromptLookup([1, 2, 3, 4, 5, 9, 2, 3, 4]).draft(2) == [5, 9]


def test_the_latest_occurrence_is_followed():
    assert PromptLookup([1, 7, 1, 8, 1]).draft(1) == [8]


def test_the_longest_context_decides():
    assert PromptLookup([1, 2, 3, 9, 5, 3, 8, 1, 2, 3]).draft(1) == [9]


def test_a_loop_is_drafted_beyond_the_end():
    assert PromptLookup([5, 6, 5, 6]).draft(5) == [5, 6, 5, 6, 5]


def test_nothing_new_gives_no_draft():
    assert PromptLookup([1, 2, 3]).draft(4) == []
    assert PromptLookup([]).draft(4) == []


def test_a_token_that_is_never_drafted_ends_the_draft():
    assert PromptLookup([1, 2, 34, 4, 1], never=[34]).draft(3) == [2]


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 6))
def test_a_growing_text_drafts_what_a_search_finds(ids, count):
    lookup = PromptLookup(())
    for token in ids:
        lookup.append(token)
    assert lookup.draft(count) == searched(ids, count)


def searched(ids, count):
    for length in range(min(LONGEST, len(ids)), 0, -1):
        for start in range(len(ids) - length - 1, -1, -1):
            if ids[start : start + length] == ids[-length:]:
                text = list(ids)
                for _ in range(count):
                    text.append(text[start + length + len(text) - len(ids)])
                return text[len(ids) :]
    return []
