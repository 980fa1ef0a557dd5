"""What the tests of bombs measure memory with sees what came and went, also below an earlier peak."""

import pytest

from .peak_memory import bounded_memory

LARGE = 400 * 2**20


@pytest.mark.skipif("not __import__('pathlib').Path('/proc/self/clear_refs').exists()", reason="needs Linux's /proc")
def test_what_came_and_went_below_an_earlier_peak_is_seen():
    b"x" * (LARGE + 2**20)
    with pytest.raises(AssertionError, match="MiB more were taken"), bounded_memory(LARGE // 4):
        b"x" * LARGE
    with bounded_memory(LARGE // 4):
        b"x" * (LARGE // 16)
