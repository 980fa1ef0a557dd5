"""Where the letters of a print stand: told by what changes in the picture when one of them does."""

import numpy as np
import pytest
from PIL import Image, ImageChops

from sightline.data.scenes.fonts import FONTS, letter_boxes, paste_text, text_extent

SIDE, EM = 300, 60


def drawn(text, font, angle):
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    paste_text(canvas, text, font, EM, (SIDE / 2, SIDE / 2), (0, 0, 0), angle)
    return canvas


@pytest.mark.parametrize("angle", [0.0, 8.0, -8.0])
@pytest.mark.parametrize("place", [1, 2, 3])
def test_another_letter_changes_its_box_alone(place, angle):
    # "o" and "c" are equally high, and every letter of this font is equally wide.
    text = "nnnnn"
    one, other = (text[:place] + letter + text[place + 1 :] for letter in "oc")
    changed = ImageChops.difference(drawn(one, "mono", angle), drawn(other, "mono", angle)).getbbox()
    boxes = [box for box, _ in letter_boxes(one, "mono", EM, (SIDE / 2, SIDE / 2), angle)]
    assert np.all((np.array(changed) - boxes[place]) * [1, 1, -1, -1] >= -2.5)
    assert boxes[place - 1][0] < boxes[place][0] < boxes[place + 1][0]


@pytest.mark.parametrize("font", FONTS)
def test_the_letters_fill_the_ink(font):
    width, height = text_extent("jumpy", font, 1.0)
    found = letter_boxes("jumpy", font, 1.0, (0.0, 0.0))
    assert "".join(letter for _, letter in found) == "jumpy"
    boxes = np.array([box for box, _ in found])
    assert boxes[0, 0] == pytest.approx(-width / 2)
    assert boxes[-1, 2] == pytest.approx(width / 2)
    np.testing.assert_allclose(boxes[1:, 0], boxes[:-1, 2])  # one begins where the last one ends
    np.testing.assert_allclose(boxes[:, 3] - boxes[:, 1], height)
