"""The contact sheet: a row for each word, readable in any script, nothing lost where no font has the letters."""

import numpy as np
import pytest
from PIL import Image

from sightline.explain import lettering as letters
from sightline.explain.explanation import Explanation, Window, Word
from sightline.explain.lettering import lettering
from sightline.explain.sheet import LABEL, SIDE, draw_sheet, write_sheet


def explanation(*texts, images=1, hidden=True):
    heat = np.zeros((images, 4, 4), dtype=np.float32)
    heat[0, 0, 0] = 0.5
    more = {"occlusion": heat, "worst": Window(0, 0, 0, -3.0)} if hidden else {}
    words = tuple(Word(text, 0, len(text), (1,), -0.1, heat, **more) for text in texts)
    return Explanation("".join(texts), words, ((0.0, 0.0, 1.0, 1.0),) * images, "layer 0", 2 if hidden else None, 1)


@pytest.mark.parametrize(("images", "hidden", "cells"), [(1, True, 3), (2, True, 6), (1, False, 2)])
def test_a_row_a_word_and_a_column_a_map(images, hidden, cells):
    picture = Image.new("RGB", (80, 40), "white")
    one = draw_sheet(explanation("duck", images=images, hidden=hidden), [picture] * images, "What?")
    three = draw_sheet(explanation("a", "red", "duck", images=images, hidden=hidden), [picture] * images, "What?")
    assert three.width == one.width == LABEL + 10 + cells * (SIDE + 10)
    assert three.height - one.height == 2 * (SIDE // 2 + 10)


def test_the_maps_stand_beside_the_picture():
    sheet = np.asarray(draw_sheet(explanation("duck"), [Image.new("RGB", (40, 40), "white")], ""))[-SIDE - 10 :]
    left = LABEL + 10
    cells = [sheet[:SIDE, left + n * (SIDE + 10) : left + n * (SIDE + 10) + SIDE] for n in range(3)]
    assert (cells[0] == 255).all()
    for cell in cells[1:]:
        changed = (cell != 255).any(-1)
        assert changed[: SIDE // 4, : SIDE // 4].all()
        assert changed.sum() == (SIDE // 4) ** 2


def test_letters_no_font_has_are_written_as_code_points():
    assert lettering("duck?", 20)[0] == "duck?"
    assert lettering("a 鸭", 20, names=())[0] == "a U+9E2D"
    assert lettering("鸭", 20, names=("no-such-font.ttf",))[0] == "U+9E2D"


def test_chinese_is_drawn_where_the_system_has_a_font_for_it():
    if all(letters._system(name, 20) is None for name in letters.SYSTEM_FONTS[:-1]):
        pytest.skip("no Chinese font is installed")
    text, font = lettering("鸭子", 20)
    assert text == "鸭子"
    assert bytes(font.getmask("鸭")) != bytes(font.getmask("子"))


def test_the_sheet_is_written_whole_and_says_who_wrote_it(tmp_path):
    path = write_sheet(tmp_path / "new" / "look.png", explanation("a"), [Image.new("RGB", (9, 9))], "?", software="me")
    with Image.open(path) as written:
        assert written.info["Software"] == "me"
    assert list(path.parent.iterdir()) == [path]
