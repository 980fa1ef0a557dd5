"""What stands where a picture should is read as the library reads it: every format, mode, turn and shape."""

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sightline.images import open_image, to_rgb
from sightline.serving.errors import APIError
from sightline.serving.images import PixelBudget, decode_picture, read_data_uri
from sightline.serving.settings import Limits

from .decoding import LIMITS, SHORTEST_EDGE, SQUARE, decode, quick, refusal
from .pictures import chunk, data_uri, encoded, exif, noise, with_chunks

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
        image = noise(16, 12).convert(mode)
        image.putalpha(noise(16, 12).convert("L"))
        return image
    return noise(16, 12).convert(mode)


@pytest.mark.parametrize(("format", "mode"), [(format, mode) for format, modes in MODES.items() for mode in modes])
def test_every_format_and_mode_is_read_as_the_library_reads_it(format, mode):
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(in_mode(mode), format, **options)
    picture = decode(data)
    assert (picture.mode, picture.size) == ("RGB", (16, 12))
    assert picture.tobytes() == to_rgb(open_image(data)).tobytes()


def with_xmp(words):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", words.decode())
    return info


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {"interlace": True, "dpi": (72, 72)}),
        ("PNG", {"transparency": (1, 2, 3)}),
        ("JPEG", {"progressive": True, "quality": 30}),
        ("JPEG", {"subsampling": 2, "optimize": True, "comment": b"a word", "icc_profile": b"a profile"}),
        ("JPEG", {"restart_marker_blocks": 1}),
        ("JPEG", {"xmp": b'<x tiff:Orientation="6"/>'}),
        ("WEBP", {"xmp": b"<tiff:Orientation>8</tiff:Orientation>"}),
        ("WEBP", {"xmp": b'<x tiff:Orientation="6"/>', "exif": exif(3)}),
        ("WEBP", {"exif": exif(1), "xmp": b"<x/>", "icc_profile": b"a profile"}),
        ("PNG", {"pnginfo": with_xmp(b'<x tiff:Orientation="6"/>')}),
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


# Data URIs.


KINDS = ("image/png", "IMAGE/PNG", "image/jpeg", "image/svg+xml", "image/x-icon", "application/octet-stream")


@pytest.mark.parametrize("kind", [*KINDS, "image/png;charset=x", "image/png;name=a.png;x=y"])
def test_the_bytes_of_a_data_uri_are_read_whatever_picture_it_says(kind):
    assert read_data_uri(f"data:{kind};base64,YWJjZA==", LIMITS, "image") == b"abcd"


@pytest.mark.parametrize(
    "text",
    [
        "data:",
        "data:image/png",
        "data:image/png,abcd",
        "data:image/png;base64",
        "data:image/png;charset=x,QUJD",
        "data:image/png" + ";a=b" * 5 + ";base64,QUJD",
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
        assert len(read_data_uri(data_uri(b"\0" * size), limits, "image")) == size
        return
    with pytest.raises(APIError, match="larger than the 300 bytes") as caught:
        read_data_uri(data_uri(b"\0" * size), limits, "image")
    assert caught.value.status == 413


def test_a_text_that_is_too_long_is_refused_before_it_is_decoded():
    with pytest.raises(APIError) as caught:
        read_data_uri("data:image/png;base64," + "!" * 500, Limits(image_bytes=300), "image")
    assert caught.value.status == 413


# A request's pictures, and all requests'.


def test_pictures_count_while_someone_holds_them():
    limits = Limits(pixels=100)
    budget = PixelBudget(limits)
    data = encoded(Image.new("RGB", (10, 10)))

    def asked():  # each in a request of its own
        return decode_picture(data, limits, budget.share(), SQUARE, "image")

    held = [asked() for _ in range(5)]
    assert budget.held == 500
    with pytest.raises(APIError) as caught:
        asked()
    error = caught.value
    assert (error.status, error.retry_after, error.headers()["x-should-retry"]) == (429, 1, "true")
    held.pop()
    asked()
    assert budget.held == 400


def test_a_copy_of_a_picture_counts_in_its_place():
    limits = Limits(pixels=100)
    budget = PixelBudget(limits)
    picture = decode_picture(encoded(Image.new("RGB", (10, 10))), limits, budget.share(), SQUARE, "image")
    copy = to_rgb(picture)  # as the engine makes it
    assert copy is not picture
    del picture
    assert budget.held == 100
    del copy
    assert budget.held == 0


def test_pictures_of_one_request_that_never_fit_are_413_whoever_else_there_is():
    limits, refused = Limits(pixels=100), []
    budget = PixelBudget(limits, refused.append)
    share, data = budget.share(), encoded(Image.new("RGB", (10, 10)))
    held = [decode_picture(data, limits, share, SQUARE, f"image {index}") for index in range(5)]
    with pytest.raises(APIError, match=r"image 5: .* 600 pixels, more than the 500 of a request") as caught:
        decode_picture(data, limits, share, SQUARE, "image 5")
    error = caught.value
    assert (error.status, error.param, error.headers()["x-should-retry"]) == (413, "image 5", "false")
    assert refused == []
    held.clear()  # let go of, but asked for all the same: the request would hold them again
    with pytest.raises(APIError) as caught:
        decode_picture(data, limits, share, SQUARE, "image 5")
    assert caught.value.status == 413
    decode_picture(data, limits, budget.share(), SQUARE, "image 0")


def test_a_picture_that_fails_counts_no_longer():
    limits, data = Limits(pixels=64 * 64), encoded(noise(64, 64))
    budget = PixelBudget(limits)
    share = budget.share()
    for _ in range(20):
        with pytest.raises(APIError, match="damaged"):
            decode_picture(data[: len(data) // 2], limits, share, SQUARE, "image")
    assert budget.held == 0
    assert decode_picture(data, limits, share, SQUARE, "image")
