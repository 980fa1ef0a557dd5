"""Any picture file or mode becomes RGB, and whatever is wrong with one is an error of one line."""

import base64
import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.images import load_rgb, open_image, to_rgb

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(width=16, height=12):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_path_bytes_data_uri_and_pil_give_the_same_pixels(tmp_path):
    image = noise()
    data = encoded(image)
    path = tmp_path / "图 片.png"
    path.write_bytes(data)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    for source in (path, str(path), data, bytearray(data), uri, image):
        assert to_rgb(open_image(source)).tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparency_is_composited_on_white(mode):
    image = Image.new({"PA": "P", "RGBa": "RGBA", "La": "LA"}.get(mode, mode), (2, 1))
    alpha = Image.new("L", (2, 1), 0)
    alpha.putpixel((1, 0), 255)
    image.putalpha(alpha)
    image = image.convert(mode)
    assert [to_rgb(image).getpixel((x, 0)) for x in (0, 1)] == [WHITE, (0, 0, 0)]


def test_half_transparent_red_is_pink():
    assert to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 128))).getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_transparent_palette_entry_is_white(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    data = encoded(image, transparency=transparency)
    rgb = to_rgb(open_image(data))
    assert [rgb.getpixel((x, 0)) for x in (0, 1)] == [WHITE, (0, 0, 255)]


def test_a_transparent_colour_of_an_rgb_file_is_white():
    rgb = to_rgb(open_image(encoded(Image.new("RGB", (1, 1), RED), transparency=RED)))
    assert rgb.getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_other_modes_become_rgb(mode):
    image = Image.new("RGB", (3, 2), WHITE).convert(mode)
    rgb = to_rgb(image)
    assert (rgb.mode, rgb.size, rgb.getpixel((0, 0))) == ("RGB", (3, 2), WHITE)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_sixteen_bits_are_scaled_not_clipped(dtype):
    values = np.array([[0, 32768, 65535]]).astype(dtype)
    rgb = to_rgb(Image.fromarray(values))
    assert [rgb.getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


def test_a_sixteen_bit_png_is_scaled():
    data = encoded(Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)))
    assert [to_rgb(open_image(data)).getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


@pytest.mark.parametrize(("white", "half"), [(1.0, 0.5), (255.0, 127.5)])
def test_floats_are_read_as_unit_range_or_bytes(white, half):
    rgb = to_rgb(Image.fromarray(np.array([[0, half, white]], dtype=np.float32)))
    assert [rgb.getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


@pytest.mark.parametrize(("lowest", "highest"), [(-1.0, 1.0), (0.0, 4095.0), (1e6, 1e6 + 8), (-3.0, -1.0)])
def test_floats_of_other_ranges_are_scaled_by_their_extrema(lowest, highest):
    values = np.array([[lowest, (lowest + highest) / 2, highest]], dtype=np.float32)
    rgb = to_rgb(Image.fromarray(values))
    assert [rgb.getpixel((x, 0))[0] for x in range(3)] == pytest.approx([0, 127, 255], abs=1)


def test_floats_of_one_value_are_one_colour():
    assert to_rgb(Image.fromarray(np.full((2, 2), 300, dtype=np.float32))).getextrema() == ((0, 0),) * 3


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_leave_the_others_as_they_are(missing):
    rgb = to_rgb(Image.fromarray(np.array([[missing, 0.5, 1.0, 0.0]], dtype=np.float32)))
    assert [rgb.getpixel((x, 0))[0] for x in range(4)] == [0, 127, 255, 0]
    with pytest.raises(ValueError, match="none of its pixels is a number"):
        to_rgb(Image.fromarray(np.full((2, 2), missing, dtype=np.float32)))


def test_exif_orientation_is_applied():
    image = noise(20, 10)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    upright = to_rgb(open_image(encoded(image, exif=exif)))
    assert upright.size == (10, 20)
    assert upright.tobytes() == image.transpose(Image.Transpose.ROTATE_270).tobytes()


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), (0, 0, 255))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert to_rgb(open_image(data)).getpixel((0, 0)) == RED


def test_a_missing_file_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no image file '.*nothing\.png'"):
        open_image(tmp_path / "nothing.png")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "not an image"),
        (b"hello, this is text", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        ("data:image/png;base64,@@@@", "not valid base64"),
        ("data:image/png;base64,", "not an image"),
        ("data:nothing", "no comma"),
        ("https://example.com/cat.png", "is a URL"),
        ("a\0b.png", "cannot be read"),
        ("x" * 5000, "cannot be read"),
        (".", "cannot be read"),
        (17, "but not int"),
        (None, "but not NoneType"),
    ],
)
def test_what_is_no_image_is_a_value_error_of_one_line(source, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_image(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_an_error(format):
    data = encoded(noise(64, 64), format)
    with pytest.raises(ValueError, match=r"damaged|not an image"):
        open_image(data[: len(data) // 2])


def test_a_data_uri_that_is_no_text_is_a_value_error_wherever_it_is_named():
    uri = "data:image/png,\ud800"
    with pytest.raises(ValueError, match="the data URI is not valid text"):
        open_image(uri)
    with pytest.raises(ValueError, match="image 3: the data URI"):
        load_rgb(uri, "image 3")


def test_a_truncated_pil_image_is_an_error():
    data = encoded(noise(64, 64))
    with pytest.raises(ValueError, match="damaged or cut short"):
        open_image(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_decompression_bomb_is_refused_from_its_header(side):
    with pytest.raises(ValueError, match="pixels allowed"):
        open_image(png_header(side, side))


def test_the_pixel_limit_can_be_lowered():
    with pytest.raises(ValueError, match="16 x 12: more than the 100 pixels allowed"):
        open_image(noise(), max_pixels=100)


def test_an_image_without_pixels_is_an_error():
    with pytest.raises(ValueError, match="0 x 5"):
        to_rgb(Image.new("RGB", (0, 5)))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata, which the pixels survive
@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]), st.data())
def test_damaged_bytes_work_or_raise_a_value_error(format, data):
    file = bytearray(encoded(noise(), format))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert to_rgb(open_image(bytes(file))).mode == "RGB"
