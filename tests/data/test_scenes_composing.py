"""Scenes are composed as they say: layouts, patterns that give something to ask, little overlap, pairs that differ."""

import random
from collections import Counter
from itertools import combinations, product

import pytest

from sightline.data.scenes.composing import random_pair, random_scene
from sightline.data.scenes.patterns import PATTERNS
from sightline.data.scenes.placing import MOST_OVERLAP
from sightline.data.scenes.scene import SHAPES, Shape, overlap

LAYOUTS = ("single", "two", "scatter", "grid")
SCENES = [random_scene(random.Random(number), layout) for number, layout in product(range(150), LAYOUTS)]


def test_layouts_have_their_number_of_objects():
    for scene in SCENES:
        fewest, most = {"single": (1, 1), "two": (2, 2), "scatter": (1, 5), "grid": (9, 9)}[scene.layout]
        assert fewest <= len(scene.objects) <= most


def test_placed_objects_have_their_centres_well_inside_their_cells():
    for scene in SCENES:
        for item in scene.objects:
            if scene.layout != "single":
                assert (int(item.y * 3), int(item.x * 3)) == (item.row, item.col)
            half = item.diameter / 2
            assert half - 1e-9 <= item.x <= 1 - half + 1e-9
            assert half - 1e-9 <= item.y <= 1 - half + 1e-9


def shared(one, other):
    """The area that two boxes share, of the smaller one."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    return max(0.0, width) * max(0.0, height) / min(one.diameter, other.diameter) ** 2


def test_objects_poke_over_their_cells_but_hide_little_of_each_other():
    poking = 0
    for scene in SCENES:
        for one, other in combinations(scene.objects, 2):
            assert shared(one, other) == pytest.approx(overlap(one, other), abs=1e-9)
            assert shared(one, other) <= MOST_OVERLAP + 1e-9
        for item in scene.objects:
            if scene.layout in ("scatter", "grid"):
                poking += item.box[0] < item.col / 3 - 0.01 or item.box[2] > (item.col + 1) / 3 + 0.01
    assert poking > 100


def test_patterns_give_what_they_are_named_for():
    def names(pattern, number):
        scene = random_scene(random.Random(number), "grid", pattern=pattern)
        return Counter(item.identity for item in scene.objects)

    for number in range(20):
        assert names("mixed", number).most_common(1)[0][1] == 1
        assert names("crowd", number).most_common(1)[0][1] >= 2
        assert all(identity[0] == "shape" for identity in names("palette", number))
        assert len(names("odd", number)) <= 3  # one more, where a held-out place had to be left


def test_an_unknown_layout_or_pattern_is_an_error():
    with pytest.raises(ValueError, match="did you mean 'grid'"):
        random_scene(random.Random(0), "gird")
    with pytest.raises(ValueError, match="did you mean 'crowd'"):
        random_scene(random.Random(0), "grid", pattern="crowds")
    assert "planted" in PATTERNS


def test_pairs_differ_in_one_object_at_most():
    changes = Counter()
    for number in range(200):
        first, second = (
            Counter(item.identity for item in scene.objects) for scene in random_pair(random.Random(number)).scenes
        )
        new, gone = (second - first).total(), (first - second).total()
        assert max(new, gone) <= 1
        changes[new, gone] += 1
    assert set(changes) == {(0, 0), (1, 0), (0, 1), (1, 1)}


def test_the_second_picture_of_a_pair_keeps_sizes_and_is_drawn_anew():
    for number in range(80):
        pair = random_pair(random.Random(number))
        sizes = [
            Counter((item.identity, item.size) for item in scene.objects if isinstance(item, Shape))
            for scene in pair.scenes
        ]
        assert (sizes[0] - sizes[1]).total() <= 1
        assert pair.first.look != pair.second.look


def test_shapes_of_all_kinds_and_sizes_are_drawn():
    drawn = Counter((item.shape, item.size) for scene in SCENES for item in scene.objects if isinstance(item, Shape))
    assert set(drawn) == set(product(SHAPES, ("small", "large")))
