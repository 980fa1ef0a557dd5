"""What is known of a picture: its key is that of its pixels, its hash that of its looks, its size the header's."""

import doctest
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sightline.data import numbers
from sightline.data.alike import APART, NEIGHBOURS, Likeness, count_alike, look_alikes
from sightline.data.numbers import Numbers
from sightline.data.pictures import in_threads, look_at, size_of_picture
from sightline.data.readers import arrow, folder
from sightline.data.tops import Tops


def packed(picture, kind, **options):
    held = io.BytesIO()
    picture.save(held, kind, **options)
    return held.getvalue()


@pytest.fixture
def noise():
    return Image.effect_noise((60, 40), 90).convert("RGB")


def test_a_key_is_that_of_the_pixels_whatever_holds_them(noise, tmp_path):
    looks = [look_at(packed(noise, kind)) for kind in ("PNG", "BMP", "TIFF")]
    (tmp_path / "a.png").write_bytes(packed(noise, "PNG", compress_level=0))
    looks.append(look_at(str(tmp_path / "a.png")))
    assert len({look.key for look in looks}) == 1
    assert (looks[0].width, looks[0].height) == (60, 40)
    noise.putpixel((3, 3), (1, 2, 3))
    assert look_at(packed(noise, "PNG")).key != looks[0].key
    assert look_at(packed(noise.transpose(Image.Transpose.ROTATE_90), "PNG")).key != looks[0].key


def test_a_key_tells_the_shape_of_equal_pixels():
    keys = {look_at(packed(Image.new("RGB", size), "PNG")).key for size in ((4, 6), (6, 4), (3, 8))}
    assert len(keys) == 3


def test_a_size_is_that_of_the_upright_picture(noise, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    turned = packed(noise, "JPEG", exif=exif)
    (tmp_path / "turned.jpg").write_bytes(turned)
    for source in (turned, str(tmp_path / "turned.jpg")):
        assert size_of_picture(source) == (40, 60) == (look_at(source).width, look_at(source).height)
    with pytest.raises(ValueError, match="cannot be read"):
        size_of_picture(b"nothing")
    with pytest.raises(FileNotFoundError):
        size_of_picture(str(tmp_path / "nowhere.png"))


@pytest.mark.parametrize("exif", [b"Exif\0\0XX*\0\x08\0\0\0", b"II*\0", b"Exif\0\0"])
def test_an_exif_block_that_cannot_be_read_turns_nothing(noise, exif):
    for kind in ("PNG", "WEBP"):
        source = packed(noise, kind, exif=exif)
        assert size_of_picture(source) == (60, 40) == (look_at(source).width, look_at(source).height)


def test_a_size_is_told_of_a_png_whose_pixels_are_cut_off(noise):
    assert size_of_picture(packed(noise, "PNG")[:200]) == (60, 40)


def grey(number, shade=0):
    """The look of a picture of one shade whose hash is `number`."""
    return Likeness(number, bytes([shade]) * 48)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.randoms())
def test_hashes_that_differ_in_few_bits_are_found_and_no_others(hashes, random):
    # Of each, one that is near and one that is just too far.
    more = []
    for one in hashes:
        for apart in (random.randrange(APART + 1), APART + 1):
            flipped = sum(1 << bit for bit in random.sample(range(64), apart))
            more.append(one ^ flipped)
    all_hashes = hashes + more
    expected = [
        next((k for k in range(n) if (all_hashes[k] ^ all_hashes[n]).bit_count() <= APART), -1)
        for n in range(len(all_hashes))
    ]
    assert len(all_hashes) < NEIGHBOURS
    assert look_alikes(map(grey, all_hashes)).tolist() == expected


def test_pictures_of_other_colours_do_not_look_alike():
    assert look_alikes(grey(0, shade) for shade in (0, 200, 5)).tolist() == [-1, -1, 0]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.booleans()), max_size=12), st.randoms())
def test_pictures_of_one_side_that_look_like_one_of_the_other_are_counted(pictures, random):
    pictures += [(one ^ 0b101, random.random() < 0.5) for one, _ in pictures]
    held, learned = ([one for one, is_held in pictures if is_held is side] for side in (True, False))
    expected = sum(any((one ^ other).bit_count() <= APART for other in learned) for one in held)
    assert count_alike(map(grey, held), map(grey, learned)) == expected


def test_a_crowd_of_like_pictures_is_compared_in_a_moment():
    count, began = 20_000, time.process_time()
    found = look_alikes([grey(0)] * count)
    assert time.process_time() - began < 20
    assert found[0] == -1
    assert (found[1:] >= 0).all()


def test_threads_keep_the_order_and_read_no_further_than_they_must():
    read = []
    given_numbers = (read.append(n) or n for n in range(100))
    made = in_threads(lambda n: n * n, given_numbers, at_once=8)
    assert [next(made) for _ in range(3)] == [0, 1, 4]
    assert len(read) == 8
    assert [0, 1, 4, *made] == [n * n for n in range(100)]


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(1, 30))
def test_bins_hold_every_number_once(held, about):
    bins = Numbers(held).bins(about)
    assert sum(one.held for one in bins) == len(held)
    assert bins[0].low <= min(held)
    assert bins[-1].high >= max(held)
    for one in bins[:-1]:
        assert one.held == sum(one.low <= number <= one.high for number in held)
    assert Numbers(held).quantile(0) == min(held)
    assert Numbers(held).quantile(1) == max(held)
    assert Numbers(held).as_dict()["total"] == sum(held)


def test_a_few_numbers_far_away_do_not_squeeze_the_others():
    bins = Numbers([*range(100), *range(100), 10**6]).bins(20)
    assert len(bins) >= 10
    assert bins[-1].high == 10**6


def test_the_most_frequent_are_kept_however_many_others_come():
    tops = Tops(most=100)
    for number in range(5000):
        tops.add(f"once {number}")
        tops.add(("often", "seldom")[number % 4 == 0])
    assert not tops.exact
    assert tops.total == 10_000
    assert [name for name, _ in tops.first(2)] == ["often", "seldom"]
    assert len(tops.counts) <= 100
    few = Tops(most=100)
    for word in ("a", "b", "b"):
        few.add(word)
    assert (few.exact, few.first(9)) == (True, [("b", 2), ("a", 1)])


@pytest.mark.parametrize("module", [numbers, folder, arrow])
def test_the_examples_are_true(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
