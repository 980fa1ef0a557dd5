"""Whatever stands where a picture should: it is read as the library reads it, or refused in a line, and soon."""

import base64
import contextlib
import io
import struct
import time
import types
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.images import open_image, to_rgb
from sightline.serving.errors import APIError
from sightline.serving.image_bytes import plain_picture
from sightline.serving.images import PixelBudget, decode_picture, read_data_uri
from sightline.serving.settings import Limits

LIMITS = Limits()
SQUARE = types.SimpleNamespace(image_processor=types.SimpleNamespace(size={"height": 32, "width": 32}))
SHORTEST_EDGE = types.SimpleNamespace(image_processor=types.SimpleNamespace(size={"shortest_edge": 336}))


def decode(data, limits=LIMITS, processor=SQUARE):
    return decode_picture(data, limits, PixelBudget(limits), processor, "image")


def refusal(data, **options):
    """What is said of bytes that are refused; one line in our own words, within a second of computing."""
    start = time.thread_time()
    with pytest.raises(APIError) as caught:
        decode(data, **options)
    assert time.thread_time() - start < 1
    error = caught.value
    assert (error.status, error.param, error.code) == (400, "image", "invalid_image")
    assert error.message.startswith("image: the picture cannot be read: ")
    assert "\n" not in error.message
    assert len(error.message) < 200
    return error.message


def quick(data):
    """The picture of bytes that are none to be refused, within a second of computing."""
    start = time.thread_time()
    picture = decode(data)
    assert time.thread_time() - start < 1
    return picture


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(width=16, height=12):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND")


def with_chunks(png, *chunks):
    """A PNG with more chunks right behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def exif(orientation, order="<"):
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return head + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def riff(*chunks):
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


# What is read is what the library reads.

MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "GIF": ["L", "P", "RGB"],
}


def in_mode(mode):
    if mode == "I;16":
        return Image.fromarray(np.arange(0, 65536, 330, dtype=np.uint16)[:192].reshape(12, 16))
    if mode in ("LA", "RGBA"):
        image = noise().convert(mode)
        image.putalpha(noise().convert("L"))
        return image
    return noise().convert(mode)


@pytest.mark.parametrize(("format", "mode"), [(format, mode) for format, modes in MODES.items() for mode in modes])
def test_every_format_and_mode_is_read_as_the_library_reads_it(format, mode):
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(in_mode(mode), format, **options)
    picture = decode(data)
    assert (picture.mode, picture.size) == ("RGB", (16, 12))
    assert picture.tobytes() == to_rgb(open_image(data)).tobytes()


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {"interlace": True, "dpi": (72, 72)}),
        ("PNG", {"transparency": (1, 2, 3)}),
        ("JPEG", {"progressive": True, "quality": 30}),
        ("JPEG", {"subsampling": 2, "optimize": True, "comment": b"a word", "icc_profile": b"a profile"}),
        ("JPEG", {"restart_marker_blocks": 1}),
        ("WEBP", {"exif": exif(1), "xmp": b"<x/>", "icc_profile": b"a profile"}),
        ("GIF", {"comment": b"a word", "interlace": 1, "transparency": 0}),
    ],
)
def test_what_stands_beside_the_pixels_changes_none_of_them(format, options):
    image = noise(40, 30).quantize(16) if format == "GIF" else noise(40, 30)
    data = encoded(image, format, **options)
    assert decode(data).tobytes() == to_rgb(open_image(data)).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_turned_as_its_exif_says(format, orientation):
    block = exif(orientation) if format != "JPEG" else b"Exif\0\0" + exif(orientation)
    data = encoded(noise(20, 10), format, exif=block)
    picture = decode(data)
    assert picture.size == ((20, 10) if orientation < 5 else (10, 20))
    assert picture.tobytes() == to_rgb(open_image(data)).tobytes()


def test_exif_of_the_other_byte_order_is_read():
    assert decode(encoded(noise(20, 10), exif=exif(6, ">"))).size == (10, 20)


@pytest.mark.parametrize(
    "block", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", exif(0), exif(9), exif(6)[:-6], b"MM*\0" + exif(6)[4:]]
)
def test_exif_that_makes_no_sense_turns_nothing(block):
    data = with_chunks(encoded(noise(20, 10)), chunk(b"eXIf", block))
    assert decode(data).size == (20, 10)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_of_an_animation_the_first_frame_is_read(format):
    frames = [Image.new("RGB", (16, 16), (index % 256, index // 256, 200)) for index in range(300)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=20, lossless=True)
    assert max(abs(a - b) for a, b in zip(quick(data).getpixel((0, 0)), (0, 0, 200), strict=True)) <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (3, 3), (1, 9999), (9999, 1)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_of_any_shape_is_read(size, format):
    assert quick(encoded(Image.new("RGB", size, "red"), format)).size == size


def test_a_thin_picture_is_refused_where_the_model_scales_by_the_shorter_edge():
    data = encoded(Image.new("RGB", (1, 9999)))
    assert "1 x 9999, too long and thin for this model" in refusal(data, processor=SHORTEST_EDGE)
    assert decode(encoded(Image.new("RGB", (3, 30))), processor=SHORTEST_EDGE).size == (3, 30)


# What is no picture, or too much of one.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 1000,
        b"GIF",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"<html><script>alert(1)</script></html>",
        b"SIMPLE  =                    T" + b" " * 3000,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"%PDF-1.4\n",
        encoded(noise(), "TIFF"),
        encoded(noise(), "BMP"),
        encoded(noise(), "JPEG2000"),
        encoded(noise(), "ICO"),
        encoded(noise(), "PPM"),
    ],
)
def test_bytes_of_another_kind_are_refused(data):
    assert refusal(data).endswith("it is no PNG, JPEG, WebP or GIF file")


@pytest.mark.parametrize("posing", [b"<svg/>", b"SIMPLE  =                    T", b"<html></html>", b"\0" * 64])
@pytest.mark.parametrize("magic", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP"])
def test_a_picture_in_name_alone_is_refused(magic, posing):
    assert "damaged" in refusal(magic + posing)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_that_is_cut_short_is_refused(format, part):
    data = encoded(noise(64, 64), format)
    assert "damaged" in refusal(data[: int(len(data) * part)])


@pytest.mark.parametrize("side", [7_000, 10_000, 14_000, 40_000, 2**31 - 1])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(side):
    assert "pixels" in refusal(png_header(side, side))


def test_a_small_file_of_many_pixels_is_refused_before_they_are_decoded():
    gif = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    webp = bytearray(encoded(Image.new("RGB", (8, 8)), "WEBP", lossless=True, exif=exif(1)))
    webp[24:30] = (16382).to_bytes(3, "little") * 2
    jpeg = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    assert "pixels" in refusal(bytes(gif))
    assert "pixels" in refusal(bytes(jpeg))
    refusal(bytes(webp))


def test_the_frame_of_a_gif_counts_where_it_is_larger_than_its_screen():
    gif = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    frame = gif.index(b",\0\0\0\0")
    gif[frame + 5 : frame + 9] = struct.pack("<HH", 60000, 60000)
    assert "pixels" in refusal(bytes(gif))


def test_a_second_header_does_not_replace_the_first():
    small, large = encoded(Image.new("RGB", (8, 8))), png_header(6000, 6000)
    refusal(with_chunks(small, large[8:33]))
    jpeg = encoded(Image.new("RGB", (8, 8)), "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    end = frame + 2 + int.from_bytes(jpeg[frame + 2 : frame + 4], "big")
    refusal(jpeg[:end] + jpeg[frame:end] + jpeg[end:])


# What is small, and costs much.


def test_a_text_that_unpacks_to_much_is_never_unpacked():
    bomb = zlib.compress(b"\0" * 20_000_000)
    chunks = [chunk(b"zTXt", b"a\0\0" + bomb), chunk(b"iCCP", b"a\0\0" + bomb)] * 8
    chunks.append(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb))
    assert quick(with_chunks(encoded(noise()), *chunks)).tobytes() == noise().tobytes()


def test_pixels_that_unpack_to_more_than_the_header_says_are_cut():
    data = png_header(8, 8)[:33] + chunk(b"IDAT", zlib.compress(b"\0" * 50_000_000)) + chunk(b"IEND")
    assert quick(data).size == (8, 8)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_exif_whose_tags_all_hold_the_same_megabytes_is_never_unpacked(format):
    tags = 60_000
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", tags)
    block += b"".join(struct.pack("<HHII", tag + 1, 1, 4_000_000, 8) for tag in range(tags)) + b"\0" * 3_500_000
    data = encoded(noise(), format, lossless=True)
    if format == "PNG":
        data = with_chunks(data, chunk(b"eXIf", block))
    else:
        extended = bytes([0x08, 0, 0, 0, 15, 0, 0, 11, 0, 0])
        data = riff((b"VP8X", extended), (b"VP8L", data[20:]), (b"EXIF", block))
    assert quick(data).tobytes() == noise().tobytes()


def gif_with_comments(count):
    gif = encoded(Image.new("P", (8, 8)), "GIF")
    start = 13 + 3 * 2 ** ((gif[10] & 7) + 1) * (gif[10] >> 7)
    return gif[:start] + b"!\xfe\x01x\0" * count + gif[start:]


def jpeg_with_comments(count):
    jpeg = encoded(noise(), "JPEG")
    return jpeg[:2] + segment(0xFE, b"") * count + jpeg[2:]


@pytest.mark.parametrize(
    "make",
    [
        lambda count: with_chunks(encoded(noise()), chunk(b"aaAa") * count),
        lambda count: with_chunks(encoded(noise()), chunk(b"PLTE", b"abc") * count),
        gif_with_comments,
        jpeg_with_comments,
        lambda count: riff(*[(b"junk", b"")] * count, (b"VP8L", b"")),
    ],
)
def test_a_file_in_a_million_parts_is_refused(make):
    assert "parts" in refusal(make(100_000))


def test_metadata_in_a_few_parts_is_none_to_refuse():
    for data in (gif_with_comments(100), jpeg_with_comments(100), with_chunks(encoded(noise()), chunk(b"aaAa") * 100)):
        quick(data)


def test_a_gif_of_nothing_but_filling_is_refused():
    gif = encoded(Image.new("P", (8, 8)), "GIF")
    start = 13 + 3 * 2 ** ((gif[10] & 7) + 1) * (gif[10] >> 7)
    refusal(gif[:start] + b"\0" * 1_000_000 + gif[start:])


@pytest.mark.parametrize("progressive", [True, False])
def test_a_jpeg_that_refines_its_pixels_a_thousand_times_is_refused(progressive):
    jpeg = encoded(Image.new("L", (2000, 2000)), "JPEG", progressive=progressive)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    assert "1000 scans" in refusal(jpeg[:-2] + scan * (1000 - jpeg.count(b"\xff\xda")) + jpeg[-2:])


def test_a_progressive_jpeg_as_encoders_write_it_is_read_at_the_largest_size():
    limits = Limits(pixels=1_000_000)
    data = encoded(noise(1000, 1000), "JPEG", progressive=True, quality=20)
    assert decode(data, limits).size == (1000, 1000)


def test_filling_before_a_marker_takes_no_quadratic_time():
    jpeg = encoded(noise(), "JPEG")
    quick(jpeg[:-2] + b"\xff" * 1_000_000 + jpeg[-2:])
    refusal(jpeg[:2] + b"\xff" * 1_000_000 + b"\0" + jpeg[3:40])


def test_a_movie_behind_a_jpeg_is_no_part_of_it():
    data = encoded(noise(), "JPEG")
    assert decode(data + b"\xff\xda\x00\x08" * 1_000_000).tobytes() == decode(data).tobytes()
    assert len(plain_picture(data + b"\xff\xda" * 1000, LIMITS.pixels).data) <= len(data)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]), st.data())
def test_damaged_bytes_are_a_picture_or_refused(format, data):
    file = bytearray(encoded(noise(), format))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(APIError):
        assert decode(bytes(file)).mode == "RGB"


# Data URIs.


def uri(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/PNG", "image/jpeg", "image/svg+xml", "image/x-icon"])
def test_the_bytes_of_a_data_uri_are_read_whatever_picture_it_says(kind):
    assert read_data_uri(uri(b"abcd", kind), LIMITS, "image") == b"abcd"


@pytest.mark.parametrize(
    "text",
    [
        "data:",
        "data:image/png",
        "data:image/png,abcd",
        "data:image/png;base64",
        "data:image/png;charset=x;base64,QUJD",
        "data:;base64,QUJD",
        "data:text/html;base64,QUJD",
        "data:application/pdf;base64,QUJD",
        "data: image/png;base64,QUJD",
        "data:\u0131mage/png;base64,QUJD",
        " data:image/png;base64,QUJD",
        "data:image/" + "x" * 1000 + ";base64,QUJD",
        *(
            "data:image/png;base64," + body
            for body in ("Q", "QQ", "QUJ", "QUJD=", "QUJD\n", " QUJD", "QU-_", "QUJD%3D")
        ),
        *("data:image/png;base64," + body for body in ("QQ==QQ==", "QR=", "====", "\ud800", "ＱＵＪＤ")),
    ],
)
def test_another_data_uri_is_refused(text):
    with pytest.raises(APIError) as caught:
        read_data_uri(text, LIMITS, "messages[0].content[1].image_url")
    error = caught.value
    assert (error.status, error.param) == (400, "messages[0].content[1].image_url")
    assert error.message.startswith("messages[0].content[1].image_url ")


@pytest.mark.parametrize(("size", "fits"), [(299, True), (300, True), (301, False), (302, False), (303, False)])
def test_the_size_of_a_picture_is_bounded(size, fits):
    limits = Limits(image_bytes=300)
    if fits:
        assert len(read_data_uri(uri(b"\0" * size), limits, "image")) == size
        return
    with pytest.raises(APIError, match="larger than the 300 bytes") as caught:
        read_data_uri(uri(b"\0" * size), limits, "image")
    assert caught.value.status == 413


def test_a_text_that_is_too_long_is_refused_before_it_is_decoded():
    with pytest.raises(APIError) as caught:
        read_data_uri("data:image/png;base64," + "!" * 500, Limits(image_bytes=300), "image")
    assert caught.value.status == 413


# All requests together.


def test_pictures_count_while_someone_holds_them():
    limits = Limits(pixels=100)
    budget = PixelBudget(limits)
    data = encoded(Image.new("RGB", (10, 10)))
    held = [decode_picture(data, limits, budget, SQUARE, "image") for _ in range(5)]
    assert budget.held == 500
    with pytest.raises(APIError) as caught:
        decode_picture(data, limits, budget, SQUARE, "image")
    assert (caught.value.status, caught.value.retry_after) == (429, 1)
    held.pop()
    decode_picture(data, limits, budget, SQUARE, "image")
    assert budget.held == 400


def test_a_picture_that_fails_counts_no_longer():
    limits, data = Limits(pixels=64 * 64), encoded(noise(64, 64))
    budget = PixelBudget(limits)
    for _ in range(20):
        with pytest.raises(APIError, match="damaged"):
            decode_picture(data[: len(data) // 2], limits, budget, SQUARE, "image")
    assert budget.held == 0
