"""The pictures show what the scenes say, and the atlas behind them is complete and credited."""

import random
from importlib import resources

import numpy as np
import pytest

from sightline.data.scenes.atlas import ARTISTS, HELD_OUT_ARTIST, artists_of, nouns, sprite
from sightline.data.scenes.language import measure, name, plural
from sightline.data.scenes.render import PALETTE, render
from sightline.data.scenes.scene import COLOURS, SHAPES, Shape, random_scene

ATLAS = resources.files("sightline") / "assets" / "atlas"


def test_the_pixel_at_a_shapes_centre_has_its_colour():
    seen = set()
    for index in range(80):
        scene = random_scene(random.Random(index), ("scatter", "grid", "single")[index % 3])
        pixels = np.asarray(render(scene)).astype(int)
        for item in scene.objects:
            if isinstance(item, Shape):
                pixel = pixels[int(item.y * 224), int(item.x * 224)]
                distances = {colour: np.abs(pixel - value).sum() for colour, value in PALETTE.items()}
                assert min(distances, key=distances.get) == item.colour
                seen.add(item.colour)
    assert seen == set(COLOURS)


def test_a_white_shape_is_never_drawn_on_white():
    for index in range(300):
        scene = random_scene(random.Random(index), "single")
        if isinstance(scene.objects[0], Shape) and scene.objects[0].colour in ("white", "black"):
            pixels = np.asarray(render(scene, 32)).astype(int)
            assert np.ptp(pixels.mean(axis=2)) > 30


def test_a_scene_is_drawn_the_same_each_time():
    scene = random_scene(random.Random(0), "grid")
    assert render(scene).tobytes() == render(scene).tobytes()


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
