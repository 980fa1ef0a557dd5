"""Rows are divided by what their pictures show: none stands on both sides, and shares are about what was asked."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sightline.data.readers import open_data
from sightline.data.readers.splits import held_out_rows, row_keys


def key(number):
    return hashlib.sha256(str(number).encode()).digest()


rows_of_keys = st.lists(st.lists(st.integers(0, 40).map(key), min_size=1, max_size=3), max_size=60)
shares = st.floats(0.01, 0.99)


@given(rows_of_keys, shares)
def test_no_picture_stands_on_both_sides(rows, share):
    sides = held_out_rows(rows, share)
    shown = [{one for row, side in zip(rows, sides, strict=True) if side == held for one in row} for held in (0, 1)]
    assert len(sides) == len(rows)
    assert not shown[0] & shown[1]


@given(rows_of_keys, shares, st.randoms())
def test_a_row_stays_on_its_side_whatever_the_order_and_the_row_is_held_out_at_any_larger_share(rows, share, random):
    sides = held_out_rows(rows, share)
    order = list(range(len(rows)))
    random.shuffle(order)
    assert held_out_rows([rows[n] for n in order], share).tolist() == sides[order].tolist()
    assert (held_out_rows(rows, min(0.999, share * 1.5)) >= sides).all()


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.25, 0.5]), st.integers(1, 4))
def test_shares_are_near_what_was_asked_however_many_pictures_belong_together(start, share, together):
    # Each row has some pictures of its own. Five standard deviations: one run in a million is outside.
    count = 400
    rows = [[key((start, row, picture)) for picture in range(together)] for row in range(count)]
    apart = abs(held_out_rows(rows, share).mean() - share)
    assert apart < 5 * np.sqrt(share * (1 - share) / count)


def test_rows_that_share_pictures_through_others_stay_together():
    chain = [[key(n), key(n + 1)] for n in range(50)]
    for share in (0.1, 0.5, 0.9):
        assert len(set(held_out_rows(chain, share).tolist())) == 1


@pytest.mark.parametrize("share", [0, 1, -0.5, 2])
def test_a_share_is_between_nothing_and_all(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        held_out_rows([[b"x"]], share)


@pytest.fixture
def rows(tmp_path):
    """Forty pictures, each under two names and in two formats, with several rows; and rows without pictures."""
    lines = []
    for number in range(40):
        picture = Image.effect_noise((16, 16), 90).convert("RGB")
        for name in (f"{number}.png", f"again{number}.bmp"):
            picture.save(tmp_path / name)
            lines += [{"image": name, "question": f"Q{n}", "answer": f"A{number}"} for n in range(2)]
        lines += [{"question": f"Text {number}?", "answer": f"B{n}"} for n in range(2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "rows.jsonl"


def test_equal_pixels_are_one_picture_and_equal_questions_one_text(rows):
    sides = [open_data(rows, split=side, held_out=0.3) for side in ("train", "held_out")]
    assert sum(map(len, sides)) == 240
    answers = [{row.messages[1]["content"][0]["text"] for row in side if row.images} for side in sides]
    questions = [{row.messages[0]["content"][0]["text"] for row in side if not row.images} for side in sides]
    assert len(answers[0]) + len(answers[1]) == len(questions[0]) + len(questions[1]) == 40
    assert not answers[0] & answers[1]
    assert not questions[0] & questions[1]
    assert 0 < len(answers[1]) < 25


def test_a_side_is_the_same_in_a_part_of_the_rows(rows, tmp_path):
    whole = {row.where for row in open_data(rows, split="held_out", held_out=0.3)}
    part = {row.where for row in open_data(rows, split="held_out", held_out=0.3, limit=120)}
    assert part == {where for where in whole if int(where.rpartition(" ")[2]) <= 120}


def test_an_empty_side_and_an_unreadable_picture_are_errors(rows, tmp_path):
    with pytest.raises(ValueError, match=r"none of the 2 rows .* would be held out at held_out=0\.001"):
        open_data(rows, limit=2, split="held_out", held_out=0.001)
    with pytest.raises(ValueError, match="there is no split 'test'; there is train and held_out"):
        open_data(rows, split="test")
    (tmp_path / "1.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 7: .*1\.png. is not an image"):
        list(row_keys(open_data(rows)))
