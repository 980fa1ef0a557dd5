"""An object is planted where we know it to be: attention and occlusion of the shipped model both find it."""

import pytest

import sightline
from sightline.data.scenes.render import render
from sightline.data.scenes.scene import CELL, Scene, Shape, Thing
from sightline.explain import explain

PLANTED = [("duck", 1, 2), ("banana", 2, 1), (("red", "star"), 0, 2), ("car", 1, 0)]
WINDOW = 5  # of 14 patches: about a cell of the world's 3 x 3


def planted(what, row, col):
    """A picture with nothing in it but one object, in one cell."""
    place = {"row": row, "col": col, "x": (col + 0.5) * CELL, "y": (row + 0.5) * CELL, "diameter": 0.9 * CELL}
    item = Thing(what, "fluent-emoji", **place) if isinstance(what, str) else Shape(*what, "large", **place)
    return render(Scene("scatter", (item,), look=7, vocabulary=()), 224)


@pytest.fixture(scope="module")
def found():
    """For each planted object the maps [rows, cols] of the word that names it: the one that hiding hurts most."""
    model, processor = sightline.load("sightline-tiny", "cpu", "float32")
    maps = []
    for object_ in PLANTED:
        content = [{"type": "image", "image": planted(*object_)}, {"type": "text", "text": "What is this?"}]
        explained = explain(model, processor, [{"role": "user", "content": content}], window=WINDOW, stride=WINDOW)
        word = max(explained.words, key=lambda word: word.loss)
        maps.append((word.attention[0], word.occlusion[0].clip(0)))
    return maps


@pytest.mark.parametrize("kind", [0, 1], ids=["attention", "occlusion"])
def test_the_planted_object_is_found(found, kind):
    lifts, hits = [], 0
    for (_, row, col), maps in zip(PLANTED, found, strict=True):
        heat = maps[kind]
        rows, cols = (slice(round(index * CELL * 14), round((index + 1) * CELL * 14)) for index in (row, col))
        cell = heat[rows, cols]
        lifts.append(cell.sum() / heat.sum() / (cell.size / heat.size))
        hits += cell.max() == heat.max()
    assert sum(lifts) / len(lifts) > 2.0, lifts  # times what chance would put there
    assert hits >= len(PLANTED) - 1
