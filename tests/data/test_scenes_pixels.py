"""Truth found again in the pixels alone: coloured patches are counted and located, and agree with the answers."""

from collections import Counter

import numpy as np
import pytest

from sightline.data.sample import questions_of
from sightline.data.scenes import World
from sightline.data.scenes.colours import PALETTE
from sightline.data.scenes.language import PLACES, sentence

# Paper may be white or black, too.
COLOURS = [colour for colour in PALETTE if colour not in ("white", "black")]
VALUES = np.array(list(PALETTE.values()), dtype=float)
SIZE, SMALLEST = 96, 30  # pixels: the picture's side, the area of a patch
WORLD = World(split="test", image_size=SIZE, things=1)


def patches(image, colour):
    """The connected patches of a colour, as arrays of (row, column)."""
    distances = np.linalg.norm(np.asarray(image).astype(float)[:, :, None] - VALUES, axis=-1)
    mask = (distances.argmin(-1) == list(PALETTE).index(colour)) & (distances.min(-1) < 60)
    left, found = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        patch = [left.pop()]
        for row, col in patch:
            near = {(row + 1, col), (row - 1, col), (row, col + 1), (row, col - 1)} & left
            left -= near
            patch.extend(near)
        found.append(np.array(patch))
    return [patch for patch in found if len(patch) > SMALLEST]


def coloured(kind, count):
    """Questions of a kind that name one of the colours: picture, colour, answer."""
    for index in range(count):
        sample, answer = WORLD.question(index, kind, "en")
        question = questions_of(sample)[0]
        if colour := next((colour for colour in COLOURS if f" {colour}" in question), None):
            yield sample["images"][0], colour, answer


def test_counts_by_colour_are_those_of_the_patches():
    right = Counter(
        len(patches(image, colour)) == int(answer.split()[-1]) for image, colour, answer in coloured("count_colour", 90)
    )
    assert right.total() > 50
    assert right[True] >= 0.94 * right.total()  # two that touch are one patch


def test_a_shape_is_where_its_patch_is():
    right = Counter()
    for image, colour, answer in coloured("where", 120):
        found = patches(image, colour)
        if len(found) == 1:
            row, col = (found[0].mean(axis=0) * 3 / SIZE).astype(int)
            right[sentence(PLACES["en"][row][col], "en") == answer] += 1
    assert right.total() > 30
    assert right[True] >= 0.97 * right.total()


@pytest.mark.parametrize("kind", ["added", "which_picture"])
def test_what_differs_between_two_pictures_is_a_patch_in_one_of_them(kind):
    right = Counter()
    for index in range(150):
        sample, answer = WORLD.question(index, kind, "en")
        result = answer.split(". ")[-1]
        text = f"{questions_of(sample)[0]} {result}"
        if colour := next((colour for colour in COLOURS if f" {colour} " in text), None):
            first, second = (len(patches(image, colour)) for image in sample["images"])
            right[first < second if kind == "added" or answer == "The second." else first > second] += 1
    assert right.total() > 30
    assert right[True] >= 0.9 * right.total()  # or the other picture has another shape of the colour
