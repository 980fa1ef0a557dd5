"""The pictures show what the scenes say, and the atlas behind them is complete and credited."""

import random
from importlib import resources

import numpy as np
import pytest

from sightline.data.scenes.atlas import ARTISTS, HELD_OUT_ARTIST, artists_of, nouns, sprite
from sightline.data.scenes.composing import random_scene
from sightline.data.scenes.language import measure, name, plural
from sightline.data.scenes.render import PALETTE, posed, render
from sightline.data.scenes.scene import COLOURS, SHAPES, Scene, Shape

ATLAS = resources.files("sightline") / "assets" / "atlas"


def alone(colour, shape="square", look=0):
    """A scene with one shape in the middle."""
    return Scene("single", (Shape(colour, shape, "large", 1, 1, 0.5, 0.5, 0.5),), look, ())


def test_the_pixel_at_a_shapes_centre_has_its_colour():
    seen = set()
    for look in range(12):
        for colour in COLOURS:
            scene = alone(colour, SHAPES[look % len(SHAPES)], look)
            pixel = np.asarray(render(scene, 64)).astype(int)[32, 32]
            distances = {other: np.abs(pixel - value).sum() for other, value in PALETTE.items()}
            assert min(distances, key=distances.get) == colour
            seen.add(scene.objects[0].shape)
    assert seen == set(SHAPES)


def test_a_shape_is_never_drawn_on_paper_of_its_colour():
    for colour in COLOURS:
        for look in range(40):
            pixels = np.asarray(render(alone(colour, look=look), 32)).astype(float)
            edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            assert np.linalg.norm(edge - pixels[16, 16], axis=1).min() > 40, (colour, look)


def test_a_scene_is_drawn_the_same_each_time():
    scene = random_scene(random.Random(0), "grid")
    assert render(scene).tobytes() == render(scene).tobytes()


def test_a_scene_is_the_same_picture_at_every_size():
    for look in range(8):
        scene = alone("blue", "triangle", look)
        large, small = (np.asarray(render(scene, size).resize((16, 16), 5)).astype(int) for size in (256, 96))
        assert np.abs(large - small).mean() < 8


def test_looks_differ_in_paper_tone_and_pose():
    pictures = {render(alone("red", look=look), 32).tobytes() for look in range(20)}
    assert len(pictures) == 20
    angles = {posed(alone("red", look=look)).objects[0].angle for look in range(20)}
    assert {0.0} < angles
    assert max(map(abs, angles)) <= 2.5


def test_a_turn_keeps_distances_and_every_centre_in_its_cell():
    for index in range(150):
        scene = random_scene(random.Random(index), ("scatter", "grid")[index % 2])
        turned = posed(scene)
        for before, after in zip(scene.objects, turned.objects, strict=True):
            assert np.hypot(before.x - 0.5, before.y - 0.5) == pytest.approx(np.hypot(after.x - 0.5, after.y - 0.5))
            assert (int(after.y * 3), int(after.x * 3)) == (after.row, after.col)


def test_a_picture_too_small_to_draw_is_an_error():
    with pytest.raises(ValueError, match="at least 8 pixels a side, not 7"):
        render(alone("red"), 7)


def test_every_artist_has_drawn_every_thing_it_is_said_to_have_drawn():
    for noun in nouns():
        drawn = artists_of(noun, ARTISTS)
        assert len(drawn) >= 7
        assert HELD_OUT_ARTIST in drawn
        for artist in drawn:
            alpha = np.asarray(sprite(noun.id, artist, 16))[..., 3]
            assert (alpha > 128).mean() > 0.04, (noun.id, artist)


def test_names_are_unique_and_whole():
    for language in ("en", "zh"):
        names = [name(("thing", noun.id), language) for noun in nouns()]
        names += [name(("shape", colour, shape), language) for colour in COLOURS for shape in SHAPES]
        names += [name(("shape", "", shape), language) for shape in SHAPES]
        assert len(set(names)) == len(names)
    assert all(len(measure(("thing", noun.id))) == 1 for noun in nouns())
    assert plural(("shape", "red", "cross"), "en") == "red crosses"
    assert len(nouns()) >= 100


def test_an_unknown_thing_or_artist_is_an_error():
    with pytest.raises(ValueError, match="did you mean 'duck'"):
        sprite("duckk", "noto", 32)
    with pytest.raises(ValueError, match="did you mean 'twemoji'"):
        sprite("duck", "twemojis", 32)


def test_credits_name_every_artist_with_a_licence_that_is_there():
    text = (ATLAS / "CREDITS.md").read_text(encoding="utf-8")
    for artist in ARTISTS:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{artist}.webp`")]
        assert "https://" in row
        assert any(licence in row for licence in ("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0"))
    for licence in ("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0", "Unicode-3.0"):
        assert (ATLAS / f"LICENSE-{licence}.txt").is_file()


def test_the_atlas_stays_small():
    assert sum(len(path.read_bytes()) for path in ATLAS.iterdir() if path.is_file()) < 6_000_000
