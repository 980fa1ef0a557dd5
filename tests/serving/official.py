"""What the official client is asked, and how it says that it was refused."""

import openai
import pytest
from PIL import Image

from .asking import part
from .pictures import data_uri, encoded

MODEL = "sightline-tiny"
HELLO = [{"role": "user", "content": "What is this?"}]


def refused(ask, param, status=400):
    with pytest.raises(openai.APIStatusError) as caught:
        list(ask())
    assert (caught.value.status_code, caught.value.param) == (status, param), caught.value.message
    return caught.value


def square(colour="red", mode="RGB", format="PNG"):
    image = Image.new("RGB", (224, 224), "white")
    image.paste(colour, (60, 60, 164, 164))
    return data_uri(encoded(image.convert(mode), format), format.lower())


def about(*uris, text="What colour is the square?"):
    return [{"role": "user", "content": [*map(part, uris), {"type": "text", "text": text}]}]
