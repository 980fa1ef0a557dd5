"""Through the API: bombs and odd pictures are answered about or refused, soon, and harm no request but their own."""

import time

import numpy as np
import pytest
from PIL import Image

from .asking import answered, ask, part, refused
from .bystander import beside_client
from .pictures import chunk, data_uri, encoded, exif, noise, png_header, with_chunks

pytestmark = pytest.mark.usefixtures("bystander")


def png(image, **options):
    return data_uri(encoded(image, "PNG", **options))


def frames(format):
    pictures = [Image.new("RGB", (16, 16), (index % 256, 0, index // 256)) for index in range(300)]
    return encoded(pictures[0], format, save_all=True, append_images=pictures[1:])


def cut(data):
    return data[: len(data) // 2]


def in_a_million_parts():
    return with_chunks(encoded(noise()), chunk(b"aaAa") * 200_000)


def refined_again_and_again():
    data = encoded(Image.new("L", (1000, 1000)), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 10_000 + data[-2:]


GREY_16 = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
ODD = {
    "one pixel": lambda: encoded(Image.new("RGB", (1, 1)), "PNG"),
    "a line": lambda: encoded(Image.new("RGB", (1, 9999)), "PNG"),
    "a lying line": lambda: encoded(Image.new("RGB", (9999, 1)), "PNG"),
    "CMYK": lambda: encoded(noise().convert("CMYK"), "JPEG"),
    "16 bits": lambda: encoded(GREY_16, "PNG"),
    "LA": lambda: encoded(noise().convert("LA"), "PNG"),
    "palette": lambda: encoded(noise().quantize(16), "PNG"),
    "turned": lambda: encoded(noise(), "JPEG", exif=b"Exif\0\0" + exif(6)),
    "animated GIF": lambda: frames("GIF"),
    "animated WebP": lambda: frames("WEBP"),
    "animated PNG": lambda: frames("PNG"),
    "5 MB": lambda: encoded(noise(1300, 1300), "PNG", compress_level=0),
}
BAD = {
    "40000 x 40000": lambda: png_header(40_000, 40_000),
    "zero bytes": lambda: b"",
    "nothing but zeros": lambda: b"\0" * 1000,
    "SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "FITS": lambda: b"SIMPLE  =                    T".ljust(2880),
    "HTML": lambda: b"<html><img src='http://127.0.0.1'></html>",
    "TIFF": lambda: encoded(noise(), "TIFF"),
    "cut JPEG": lambda: cut(encoded(noise(), "JPEG")),
    "cut PNG": lambda: cut(encoded(noise(), "PNG")),
    "a million parts": in_a_million_parts,
    "refined again and again": refined_again_and_again,
}


@pytest.mark.parametrize("name", [*ODD, *BAD])
def test_an_odd_picture_is_answered_about_or_refused_within_a_second(client, name):
    url = data_uri({**ODD, **BAD}[name]())
    start = time.process_time()
    response = ask(client, part(url))
    assert time.process_time() - start < 1
    if name in ODD:
        assert response.status_code == 200, response.text
    else:
        refused(response, "messages[0].content[0].image_url")


def test_an_answer_is_about_the_picture_as_its_exif_turns_it(client):
    upright = noise().transpose(Image.Transpose.ROTATE_270)
    turned = encoded(noise(), "PNG", exif=exif(6))
    assert answered(client, data_uri(turned)) == answered(client, png(upright))


@pytest.mark.parametrize("count", [17, 1000])
def test_too_many_pictures_are_refused_before_the_first_is_decoded(client, monkeypatch, count):
    from sightline.serving import images

    dot, decoded, decode = encoded(Image.new("RGB", (1, 1))), [], images.decode_picture
    monkeypatch.setattr(images, "decode_picture", lambda data, *more: (decoded.append(data), decode(data, *more))[1])
    start = time.process_time()
    message = refused(ask(client, *[part(data_uri(dot))] * count), "messages[0].content[16].image_url")
    assert time.process_time() - start < 1
    assert message.startswith(f"{count} pictures")
    assert dot not in decoded


def test_a_picture_of_too_many_bytes_is_refused(make_client):
    with make_client(limits={"image_bytes": 1000}) as client, beside_client(client):
        refused(ask(client, part(data_uri(b"\0" * 1001))), "messages[0].content[0].image_url", status=413)


def squares(count):
    return [part(png(Image.new("RGB", (10, 10), (index, 0, 0)))) for index in range(count)]


def test_pictures_of_one_request_that_fit_in_no_memory_are_refused_for_good(make_client):
    with make_client(limits={"pixels": 100}) as client, beside_client(client, picture=False):
        message = refused(ask(client, *squares(6)), "messages[0].content[5].image_url", status=413)
        assert "send fewer" in message
        assert 'reason="pixels"' not in client.get("/metrics").text
        assert ask(client, *squares(2)).status_code == 200
        assert client.state.pixels.held == 0


def test_pictures_that_find_no_room_beside_others_are_to_come_again(make_client):
    with make_client(limits={"pixels": 100}) as client, beside_client(client, picture=False):
        others = client.state.pixels.hold(401, lambda: Image.new("RGB", (1, 1)))
        response = ask(client, *squares(1))
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert response.headers["x-should-retry"] == "true"
        assert 'reason="pixels"' in client.get("/metrics").text
        del others
        assert ask(client, *squares(1)).status_code == 200
        assert client.state.pixels.held == 0
