"""Paper stays out of the way of what is drawn on it, and small changes to a picture change no answer."""

import colorsys
import random
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from sightline.data.scenes import augment
from sightline.data.scenes.augment import finish
from sightline.data.scenes.backgrounds import BACKGROUNDS, Paper, background, choose_paper, readable_on, stands_out
from sightline.data.scenes.colours import PALETTE, jittered, luma

PAPER = Paper((190, 200, 210), (210, 215, 220), "plain")


@pytest.mark.parametrize("style", BACKGROUNDS)
@pytest.mark.parametrize("size", [8, 21, 224])
def test_a_pattern_runs_between_the_papers_two_colours(style, size):
    paper = Paper(PAPER.low, PAPER.high, style)
    for seed in range(6):
        picture = background(paper, seed, size)
        pixels = np.asarray(picture).astype(int)
        assert picture.size == (size, size)
        assert (pixels >= np.array(paper.low) - 1).all()
        assert (pixels <= np.array(paper.high) + 1).all()
        assert picture.tobytes() == background(paper, seed, size).tobytes()
        if style != "plain":
            assert np.ptp(pixels[..., 0]) > 8
            assert picture.tobytes() != background(paper, seed + 1, size).tobytes()


def test_smooth_patterns_are_the_same_at_every_size():
    for style in ("gradient", "texture", "stripes"):
        paper = Paper(PAPER.low, PAPER.high, style)
        large, small = (background(paper, 5, size).resize((16, 16), Image.Resampling.BOX) for size in (224, 112))
        assert np.abs(np.asarray(large).astype(int) - np.asarray(small)).max() <= 4


def test_a_paper_keeps_its_distance_from_what_is_drawn_on_it():
    rng = random.Random(0)
    styles = set()
    for _ in range(400):
        drawn = dict.fromkeys(rng.sample(list(PALETTE.values()), rng.randint(1, 4)), 70.0)
        paper = choose_paper(rng, drawn)
        styles.add(paper.style)
        assert all(stands_out(paper, colour, 70.0) for colour in drawn)
    assert styles == set(BACKGROUNDS)


def test_some_ink_can_be_read_on_any_paper():
    rng = random.Random(1)
    for _ in range(400):
        paper = choose_paper(rng)
        inks = [colour for colour in PALETTE.values() if readable_on(paper, colour)]
        assert set(inks) & {PALETTE["black"], PALETTE["white"]}
        assert all(abs(luma(end) - luma(ink)) >= 75 for ink in inks for end in (paper.low, paper.high))


def hue(colour):
    return 360 * colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))[0]


def test_no_change_of_tone_gives_a_colour_anothers_name():
    rng = random.Random(2)
    seen = {name: [] for name in PALETTE}
    for _ in range(400):
        for name, colour in PALETTE.items():
            picture = finish(Image.new("RGB", (8, 8), jittered(rng, colour)), rng)
            seen[name].append(tuple(np.asarray(picture).mean(axis=(0, 1))))
    ranges = {}
    for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink"):
        hues = [(hue(colour) + 15) % 360 for colour in seen[name]]
        ranges[name] = min(hues), max(hues)
        assert min(max(colour) - min(colour) for colour in seen[name]) > 50, name
    ordered = sorted(ranges.values())
    assert all(one[1] + 4 < other[0] for one, other in pairwise(ordered)), ranges
    for name, low, high in (("black", 0, 70), ("white", 205, 256)):
        assert all(low <= channel < high for colour in seen[name] for channel in colour)


def test_changes_are_small_and_not_always_there():
    picture = Image.effect_noise((64, 64), 60).convert("RGB")
    outcomes = [np.abs(np.asarray(finish(picture, random.Random(seed))).astype(int) - picture) for seed in range(80)]
    assert any(not outcome.any() for outcome in outcomes)
    assert sum(bool(outcome.any()) for outcome in outcomes) > 30
    assert max(outcome.mean() for outcome in outcomes) < 40


@pytest.mark.parametrize("change", ["TONE_SHARE", "BLUR_SHARE", "JPEG_SHARE"])
def test_each_change_is_made_as_often_as_its_share_says(monkeypatch, change):
    picture = Image.effect_noise((64, 64), 60).convert("RGB")
    share = getattr(augment, change)
    for other in ("TONE_SHARE", "BLUR_SHARE", "JPEG_SHARE"):
        monkeypatch.setattr(augment, other, share if other == change else 0.0)
    made = [np.asarray(finish(picture, random.Random(seed))) for seed in range(200)]
    changed = sum((one != np.asarray(picture)).any() for one in made)
    assert abs(changed / 200 - share) < 0.1


def test_hues_turn_both_ways_and_a_little():
    rng = random.Random(1)
    red = Image.new("RGB", (8, 8), (200, 40, 40))
    turned = [(hue(tuple(np.asarray(finish(red, rng)).mean(axis=(0, 1)))) + 180) % 360 - 180 for _ in range(200)]
    assert min(turned) < -1.5
    assert max(turned) > 1.5
    assert max(map(abs, turned)) < 8
