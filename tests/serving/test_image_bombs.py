"""What is no picture, too much of one, or small and costs much: refused in a line, or read, and soon."""

import contextlib
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.serving.errors import APIError
from sightline.serving.image_bytes import plain_picture
from sightline.serving.settings import Limits

from .bystander import MOST_BYTES
from .decoding import LIMITS, decode, quick, refusal
from .peak_memory import bounded_memory
from .pictures import chunk, encoded, exif, noise, png_header, with_chunks


@pytest.fixture(autouse=True)
def memory():
    with bounded_memory(MOST_BYTES):
        yield


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def riff(*chunks):
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


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
        encoded(noise(16, 12), "TIFF"),
        encoded(noise(16, 12), "BMP"),
        encoded(noise(16, 12), "JPEG2000"),
        encoded(noise(16, 12), "ICO"),
        encoded(noise(16, 12), "PPM"),
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
    assert quick(with_chunks(encoded(noise(16, 12)), *chunks)).tobytes() == noise(16, 12).tobytes()


def test_pixels_that_unpack_to_more_than_the_header_says_are_cut():
    data = png_header(8, 8)[:33] + chunk(b"IDAT", zlib.compress(b"\0" * 50_000_000)) + chunk(b"IEND")
    assert quick(data).size == (8, 8)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_exif_whose_tags_all_hold_the_same_megabytes_is_never_unpacked(format):
    tags = 60_000
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", tags)
    block += b"".join(struct.pack("<HHII", tag + 1, 1, 4_000_000, 8) for tag in range(tags)) + b"\0" * 3_500_000
    data = encoded(noise(16, 12), format, lossless=True)
    if format == "PNG":
        data = with_chunks(data, chunk(b"eXIf", block))
    else:
        extended = bytes([0x08, 0, 0, 0, 15, 0, 0, 11, 0, 0])
        data = riff((b"VP8X", extended), (b"VP8L", data[20:]), (b"EXIF", block))
    assert quick(data).tobytes() == noise(16, 12).tobytes()


def gif_with_comments(count):
    gif = encoded(Image.new("P", (8, 8)), "GIF")
    start = 13 + 3 * 2 ** ((gif[10] & 7) + 1) * (gif[10] >> 7)
    return gif[:start] + b"!\xfe\x01x\0" * count + gif[start:]


def jpeg_with_comments(count):
    jpeg = encoded(noise(16, 12), "JPEG")
    return jpeg[:2] + segment(0xFE, b"") * count + jpeg[2:]


@pytest.mark.parametrize(
    "make",
    [
        lambda count: with_chunks(encoded(noise(16, 12)), chunk(b"aaAa") * count),
        lambda count: with_chunks(encoded(noise(16, 12)), chunk(b"PLTE", b"abc") * count),
        gif_with_comments,
        jpeg_with_comments,
        lambda count: riff(*[(b"junk", b"")] * count, (b"VP8L", b"")),
    ],
)
def test_a_file_in_a_million_parts_is_refused(make):
    assert "parts" in refusal(make(100_000))


def test_metadata_in_a_few_parts_is_none_to_refuse():
    for data in (
        gif_with_comments(100),
        jpeg_with_comments(100),
        with_chunks(encoded(noise(16, 12)), chunk(b"aaAa") * 100),
    ):
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
    jpeg = encoded(noise(16, 12), "JPEG")
    quick(jpeg[:-2] + b"\xff" * 1_000_000 + jpeg[-2:])
    refusal(jpeg[:2] + b"\xff" * 1_000_000 + b"\0" + jpeg[3:40])


def test_a_movie_behind_a_jpeg_is_no_part_of_it():
    data = encoded(noise(16, 12), "JPEG")
    assert decode(data + b"\xff\xda\x00\x08" * 1_000_000).tobytes() == decode(data).tobytes()
    assert len(plain_picture(data + b"\xff\xda" * 1000, LIMITS.pixels).data) <= len(data)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]), st.data())
def test_damaged_bytes_are_a_picture_or_refused(format, data):
    file = bytearray(encoded(noise(16, 12), format))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(APIError):
        assert decode(bytes(file)).mode == "RGB"
