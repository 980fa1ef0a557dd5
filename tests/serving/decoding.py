"""Bytes decoded as the server decodes them, and how soon it is known whether they can be."""

import time
import types

import pytest

from sightline.serving.errors import APIError
from sightline.serving.images import PixelBudget, decode_picture
from sightline.serving.settings import Limits

LIMITS = Limits()
SQUARE = types.SimpleNamespace(image_processor=types.SimpleNamespace(size={"height": 32, "width": 32}))
SHORTEST_EDGE = types.SimpleNamespace(image_processor=types.SimpleNamespace(size={"shortest_edge": 336}))


def decode(data, limits=LIMITS, processor=SQUARE):
    return decode_picture(data, limits, PixelBudget(limits).share(), processor, "image")


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
