"""The truth is in the pixels: what is where is read from the pictures alone, and compared with what is said of them.

Nothing here uses the renderer's code or tables: colours are named by their hue, objects are connected pixels, bars
are measured, digits and things are matched with their sheets, and words with a fresh print of each candidate.
"""

import colorsys
import json
import random
from functools import lru_cache
from importlib import resources
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from sightline.data.scenes.charts import LABELS
from sightline.data.scenes.composing import random_scene
from sightline.data.scenes.panels import PANELS
from sightline.data.scenes.render import render
from sightline.data.scenes.stock import Stock
from sightline.data.scenes.words import NUMBERS, WORDS

ASSETS = resources.files("sightline") / "assets"
SIZE = 224
STANDS_OUT = 40  # in RGB, from the picture's median: more than any paper's pattern


def pixels_of(picture):
    return np.asarray(picture).astype(float)


def foreground(pixels, far=STANDS_OUT):
    """Which pixels are not paper: [height, width]; most of the picture is."""
    paper = np.median(pixels.reshape(-1, 3), axis=0)
    return np.linalg.norm(pixels - paper, axis=2) > far


def components(mask, smallest=60):
    """A mask for each set of connected pixels (by side) that has at least `smallest` of them."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = labels.copy()
        # Sweeps carry the largest label along whole runs; a few of them fill any plain shape.
        for line in (spread, spread[::-1], spread.T, spread.T[::-1]):
            for previous, current in pairwise(line):
                np.maximum(current, np.where((current > 0) & (previous > 0), previous, 0), out=current)
        if (spread == labels).all():
            break
        labels = spread
    return [labels == label for label in np.unique(labels[labels > 0]) if (labels == label).sum() >= smallest]


def bounds(mask):
    """Left, top, right and bottom of the mask's pixels."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return cols[0], rows[0], cols[-1] + 1, rows[-1] + 1


def name_colour(colour):
    """What a person calls it."""
    hue, _, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    if max(colour) - min(colour) < 55:
        return "white" if value > 0.5 else "black"
    ends = {"red": 15, "orange": 41, "yellow": 75, "green": 170, "blue": 248, "purple": 307, "pink": 345, "": 360}
    return next(name for name, end in ends.items() if hue * 360 < end) or "red"


def typical_colour(pixels, mask):
    """The median of the mask's pixels that lie farthest from the paper: without its blurred edge."""
    paper = np.median(pixels.reshape(-1, 3), axis=0)
    inside = pixels[mask]
    far = np.linalg.norm(inside - paper, axis=1)
    return np.median(inside[far >= np.quantile(far, 0.5)], axis=0)


def apart(scene):
    """Whether no two objects' squares touch, so that each is a component of its own."""
    rows = [(item.x, item.y, item.diameter) for item in scene.objects]
    return all(
        max(abs(x - u), abs(y - v)) * SIZE > (d + e) / 2 * SIZE * 1.15 + 2
        for number, (x, y, d) in enumerate(rows)
        for u, v, e in rows[:number]
    )


SHAPES_ONLY = Stock(things=())
SCENES = [random_scene(random.Random(f"pixels {index}"), "scatter", stock=SHAPES_ONLY) for index in range(36)]


def test_shapes_are_as_many_as_large_of_the_colour_and_in_the_cell_that_the_scene_says():
    checked = 0
    for scene in filter(apart, SCENES):
        pixels = pixels_of(render(scene, SIZE))
        found = []
        for part in components(foreground(pixels)):
            left, top, right, bottom = bounds(part)
            cell = int((top + bottom) / 2 / SIZE * 3), int((left + right) / 2 / SIZE * 3)
            large = max(right - left, bottom - top) > 0.6 * SIZE / 3
            found.append((*cell, name_colour(typical_colour(pixels, part)), "large" if large else "small"))
        assert sorted(found) == sorted((item.row, item.col, item.colour, item.size) for item in scene.objects)
        checked += len(found)
    assert checked > 50


@pytest.mark.parametrize(
    ("shape", "fill"),
    [("circle", 0.785), ("square", 1.0), ("triangle", 0.5), ("diamond", 0.5), ("star", 0.375), ("cross", 0.54)],
)
def test_a_shape_fills_as_much_of_its_square_as_its_geometry_says(shape, fill):
    stock = Stock(things=())
    stock.shapes = tuple(name for name in stock.shapes if name[2] == shape)
    for index in range(4):
        scene = random_scene(random.Random(index), "single", stock=stock)
        pixels = pixels_of(render(scene, SIZE))
        paper = np.median(pixels[:6].reshape(-1, 3), axis=0)
        (part,) = components(np.linalg.norm(pixels - paper, axis=2) > STANDS_OUT, 200)
        left, top, right, bottom = bounds(part)
        # A turn of a few degrees widens the box of a square most.
        assert 0.8 * fill < part.sum() / ((right - left) * (bottom - top)) < 1.1 * fill


TILE = 20  # pixels a side, at which things are compared


def as_vector(picture):
    """An RGB picture of a thing without its brightness and contrast: unit vector, [3 * TILE * TILE]."""
    pixels = pixels_of(picture.resize((TILE, TILE), Image.Resampling.BOX)).ravel()
    pixels -= pixels.mean()
    return pixels / max(np.linalg.norm(pixels), 1e-6)


@lru_cache
def drawings():
    """Every drawing of every thing and its mirror image, RGBA, with its name."""
    table = json.loads((ASSETS / "atlas" / "things.json").read_text(encoding="utf-8"))
    side, columns = table["sprite"], table["columns"]
    found = []
    for path in (ASSETS / "atlas").iterdir():
        if path.name.endswith(".webp"):
            sheet = Image.open(BytesIO(path.read_bytes())).convert("RGBA")
            for index, thing in enumerate(table["things"]):
                left, top = index % columns * side, index // columns * side
                drawing = sheet.crop((left, top, left + side, top + side)).resize((TILE, TILE), Image.Resampling.BOX)
                if drawing.getbbox():
                    found += [(thing["id"], drawing), (thing["id"], drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT))]
    return found


def drawn_on(paper):
    """All drawings on paper of that colour: [drawings, 3 * TILE * TILE]."""
    vectors = []
    for _, drawing in drawings():
        on_paper = Image.new("RGB", drawing.size, paper)
        on_paper.paste(drawing, mask=drawing)
        vectors.append(as_vector(on_paper))
    return np.array(vectors)


def test_things_are_drawn_where_and_as_what_the_scene_says():
    right = total = 0
    for index in range(12):
        scene = random_scene(random.Random(f"things {index}"), "scatter", pattern="mixed")
        picture = render(scene, SIZE)
        candidates = drawn_on(tuple(np.median(pixels_of(picture).reshape(-1, 3), axis=0).astype(int)))
        for item in (item for item in scene.objects if item.identity[0] == "thing"):
            reach = item.diameter / 2
            box = (item.x - reach, item.y - reach, item.x + reach, item.y + reach)
            crop = picture.crop([round(edge * SIZE) for edge in box])
            right += drawings()[int(np.argmax(candidates @ as_vector(crop)))][0] == item.name
            total += 1
    assert total > 20
    assert right / total > 0.9


def upright(chart):
    """The chart's pixels, turned so that bars stand side by side on their foot: first row is their far end."""
    pixels = pixels_of(chart.draw(SIZE))
    return pixels.swapaxes(0, 1)[::-1] if chart.horizontal else pixels


def bars_of(pixels):
    """The boxes of the coloured bars, from left to right."""
    return np.array(sorted(bounds(part) for part in components(np.ptp(pixels, axis=2) > 60, 100)))


def test_bars_are_as_long_as_their_values_and_stand_on_one_line():
    for index in range(24):
        chart = PANELS["bars"].random(random.Random(index))
        values = np.array([entry.value for entry in chart.entries])
        _, tops, _, feet = bars_of(upright(chart)).T
        assert len(feet) == len(values)
        assert np.ptp(feet) <= 2
        assert np.abs((feet - tops) / (feet - tops).max() * values.max() - values).max() < 0.25, index


def test_an_axis_has_a_line_for_each_whole_number():
    checked = {True: 0, False: 0}
    for index in range(150):
        chart = PANELS["bars"].random(random.Random(index))
        if not chart.axis or chart.paper.style != "plain":
            continue
        pixels = upright(chart)
        boxes = bars_of(pixels)
        # Just to the right of the last bar only paper and lines are left.
        edge = boxes[:, 2].max()
        strip = pixels[:, edge + 2 : edge + 5].mean(axis=1)
        differs = np.linalg.norm(strip - np.median(strip, axis=0), axis=1)[: boxes[:, 3].max() - 3]
        faintest = max(8, 0.4 * differs.max())
        lines = [row for row in range(1, len(differs)) if faintest < differs[row] == differs[row - 1 : row + 2].max()]
        unit = np.median(np.diff(lines))
        values = [entry.value for entry in chart.entries]
        assert np.abs((boxes[:, 3] - boxes[:, 1]) / unit - values).max() < 0.35, index
        checked[chart.horizontal] += 1
    assert min(checked.values()) >= 3


def test_slices_are_as_large_as_their_values():
    for index in range(40):
        chart = PANELS["pie"].random(random.Random(index))
        pixels = pixels_of(chart.draw(SIZE))
        colours = np.array([entry.colour for entry in chart.entries], dtype=float)
        away = np.hypot(*(np.indices((SIZE, SIZE)) + 0.5 - SIZE / 2)) / SIZE
        # Inside the rim and outside the printed values.
        ring = pixels[(away > 0.02) & (away < 0.12)]
        nearest = np.argmin(np.linalg.norm(ring[:, None] - colours, axis=2), axis=1)
        shares = np.bincount(nearest, minlength=len(colours)) / len(ring)
        values = np.array([entry.value for entry in chart.entries])
        assert np.abs(shares - values / values.sum()).max() < 0.06, index


def sheet():
    """The handwritten digits as unit vectors, [count, 64], and their labels."""
    picture = np.asarray(Image.open(BytesIO((ASSETS / "digits" / "digits.png").read_bytes()))).astype(float)
    labels = (ASSETS / "digits" / "labels.txt").read_text().strip()
    tiles = picture.reshape(picture.shape[0] // 8, 8, -1, 8).swapaxes(1, 2).reshape(-1, 64)[: len(labels)]
    return tiles / np.linalg.norm(tiles, axis=1, keepdims=True), labels


def ink_of(pixels):
    """How much of the ink each pixel has, 0 to 1."""
    paper = np.median(pixels.reshape(-1, 3), axis=0)
    far = np.linalg.norm(pixels - paper, axis=2)
    return np.clip(far / far.max(), 0, 1)


def cut(picture, box):
    left, top, right, bottom = (round(side * SIZE) for side in box)
    return picture[max(0, top) : bottom, max(0, left) : right]


def test_handwriting_is_nearest_to_the_digit_that_is_named():
    vectors, labels = sheet()
    right = total = 0
    for index in range(40):
        panel = PANELS["digits"].random(random.Random(index))
        ink = ink_of(pixels_of(panel.draw(SIZE)))
        for box, text in panel.regions("en"):
            tile = Image.fromarray((cut(ink, box) * 255).astype(np.uint8)).resize((8, 8), Image.Resampling.BOX)
            vector = np.asarray(tile).astype(float).ravel()
            right += labels[np.argmax(vectors @ vector)] == text[-1]
            total += 1
    assert right / total > 0.97


@lru_cache
def typefaces(font):
    return ImageFont.truetype(BytesIO((ASSETS / "fonts" / f"{font}.ttf").read_bytes()), 64)


def printed(text, font):
    """A fresh print of the text, trimmed to its ink, 0 to 255."""
    typeface = typefaces(font)
    canvas = Image.new("L", (64 * len(text) + 64, 160))
    ImageDraw.Draw(canvas).text((20, 30), text, 255, typeface)
    return canvas.crop(canvas.getbbox())


def likeness(one, other):
    one, other = (np.asarray(picture.resize((96, 32))).astype(float).ravel() for picture in (one, other))
    return np.corrcoef(one, other)[0, 1]


def test_a_print_is_most_like_the_text_that_is_named_and_has_its_colour():
    rng = random.Random(0)
    checked = 0
    for index in range(36):
        panel = PANELS["printed"].random(random.Random(index))
        pixels = pixels_of(panel.draw(SIZE))
        ink = ink_of(pixels)
        for item, (box, _) in zip(panel.items, panel.regions("en"), strict=False):
            assert name_colour(typical_colour(pixels, box_mask(box) & foreground(pixels))) == item.colour
            if item.angle:
                continue
            crop = Image.fromarray((cut(ink, box) * 255).astype(np.uint8))
            others = [text for text in rng.sample(WORDS + NUMBERS, 300) if len(text) == len(item.text)]
            scores = {text: likeness(crop, printed(text, item.font)) for text in [*others[:16], item.text]}
            assert max(scores, key=scores.get) == item.text, index
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("layout", ["bars", "pie"])
def test_a_charts_labels_are_printed_where_its_regions_say(layout):
    words = [label for label in LABELS if len(label) > 1]
    right = []
    for index in range(100):
        chart = PANELS[layout].random(random.Random(index))
        if chart.paper.style != "plain":
            continue
        ink = ink_of(pixels_of(chart.draw(SIZE)))
        boxes = {text.strip('"'): box for box, text in chart.regions("en")[len(chart.entries) :]}
        for label in {entry.label for entry in chart.entries} & set(words):
            crop = Image.fromarray((cut(ink, boxes[label]) * 255).astype(np.uint8))
            scores = {word: likeness(crop, printed(word, chart.font)) for word in words if len(word) == len(label)}
            right.append(max(scores, key=scores.get) == label)
    assert len(right) > 15
    assert np.mean(right) > 0.95


def box_mask(box):
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    cut(mask, box)[:] = True
    return mask


def test_ink_ends_where_the_regions_say():
    for index in range(60):
        panel = PANELS["printed"].random(random.Random(index))
        boxes = np.array([box for box, _ in panel.regions("en")]) * SIZE
        said = np.array([*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)])
        seen = np.array(bounds(foreground(pixels_of(panel.draw(SIZE)), 60)))
        beyond = (seen - said) * [-1, -1, 1, 1]
        assert beyond.max() <= 3, index
        # The box of a turned print has empty corners.
        assert beyond.min() >= -4 or any(item.angle for item in panel.items), index
