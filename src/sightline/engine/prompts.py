"""From messages to a `Prompt`: its ids, where its images stand, and a key for what each of them shows.

A key stands for what the tower will see: the picture as it was decoded to RGB, and how it is prepared. So a file, its
bytes and the opened picture share a key, as do a grey picture and its RGB version, while any other pixel, size or
setting gives another. Preparing is left until someone asks: a picture whose features are cached never needs it. This
file knows no model, and neither caches nor computes features.
"""

from __future__ import annotations

import copy
import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from sightline import chat
from sightline.engine.request import ImageRun, Prompt
from sightline.images import ImageSource, load_rgb
from sightline.processor import VLMProcessor
from sightline.tokenizer import beginning_of

__all__ = ["PreparedImage", "PromptReader", "find_images", "image_key", "pixels_key"]

Messages = Sequence[dict[str, Any]]


class PreparedImage:
    """A picture whose pixel values are made when they are first asked for; only then is the picture let go of.

    Args:
        size: the pixels of the picture that `prepare` holds on to.
    """

    def __init__(self, prepare: Callable[[], Tensor], size: int = 0) -> None:
        self.size = size
        self._prepare: Callable[[], Tensor] | None = prepare
        self._pixel_values: Tensor | None = None

    def pixel_values(self) -> Float[Tensor, "3 height width"]:
        """What the tower reads."""
        prepare = self._prepare
        if prepare is not None:
            self._pixel_values = prepare()
            self._prepare = None  # last: another thread that finds no `prepare` finds the pixels
        assert self._pixel_values is not None
        return self._pixel_values


# An image on its way into a prompt: its key, how many placeholders stand for it, and its pixels to be.
_Found = tuple[bytes, int, PreparedImage]


class PromptReader:
    """Reads conversations with `processor`, a `VLMProcessor` or transformers' own `LlavaProcessor`."""

    def __init__(self, processor: ProcessorMixin) -> None:
        self._processor: Any = processor
        self._plain: Any = None if isinstance(processor, VLMProcessor) else _plain_tokenizer(processor)
        self._begin = beginning_of(self._processor.tokenizer)

    def read(self, messages: Messages, salt: bytes = b"") -> tuple[Prompt, dict[bytes, PreparedImage]]:
        """The prompt that asks for the next answer, and its pictures by key; equal ones are there once.

        The ids are those of `apply_chat_template(messages, add_generation_prompt=True)`.

        Raises:
            ValueError: the messages or a picture cannot be read, or the ids have placeholders of no image; or the salt
                is no bytes.
            FileNotFoundError: there is no file at the path of a picture.
        """
        _check_salt(salt)
        encode = self._encode if isinstance(self._processor, VLMProcessor) else self._encode_with_transformers
        ids, found = encode(messages)
        if salt:
            found = [(_digest(b"salted", salt, key), length, image) for key, length, image in found]
        starts = find_images(ids, self._processor.image_token_id, [length for _, length, _ in found])
        runs = tuple(ImageRun(start, length, key) for start, (key, length, _) in zip(starts, found, strict=True))
        return Prompt(tuple(ids), runs, salt), {key: image for key, _, image in found}

    def plain(self, text: str | Sequence[int], salt: bytes = b"") -> Prompt:
        """The prompt of a text, or of its token ids, without a template and without pictures.

        Raises:
            ValueError: an id is no whole number, or a picture's placeholder; or the salt is no bytes.
        """
        _check_salt(salt)
        try:
            ids = tuple(map(operator.index, self.prompt_ids(text) if isinstance(text, str) else text))
        except TypeError:
            raise ValueError("the prompt's token ids are not all whole numbers") from None
        if self._processor.image_token_id in ids:
            raise ValueError(
                f"the prompt has the id {self._processor.image_token_id}, which stands for a picture, but there is none"
            )
        return Prompt(ids, salt=salt)

    def tensors(self, messages: Messages) -> BatchFeature:
        """What the model takes to answer: `input_ids`, `attention_mask`, and `pixel_values` where there are pictures.

        Another processor gets pictures that are opened here: transformers would fetch those given as a URL, and drop
        transparency.

        Raises:
            ValueError, FileNotFoundError: as `read`.
        """
        options: dict[str, Any] = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        if isinstance(self._processor, VLMProcessor):
            return self._processor.apply_chat_template(list(messages), return_tensors="pt", **options)
        plain, sources = self._for_template(messages)
        pictures = [_open(source, index) for index, source in enumerate(sources)]
        return self._processor.apply_chat_template(
            plain, return_tensors="pt", processor_kwargs={"images": pictures}, **options
        )

    def prompt_ids(self, text: str) -> list[int]:
        """The ids of a prompt without a template: what the tokenizer begins every text with, and the text's own."""
        ids = self.text_ids(text)
        return ids if ids[: len(self._begin)] == self._begin else [*self._begin, *ids]

    def text_ids(self, text: str) -> list[int]:
        """The ids of `text` alone, without a template: never a placeholder or a control token."""
        if isinstance(self._processor, VLMProcessor):
            return self._processor.encode_text(text)
        return self._plain(text, split_special_tokens=True)["input_ids"]

    def answer_ids(self, messages: Messages, text: str) -> list[int]:
        """The ids of `text` as the assistant would write it in answer to `messages`, without an end token.

        Pictures are neither opened nor prepared.

        Raises:
            ValueError: the processor's chat template writes an answer elsewhere than it asks for one; or the messages
                cannot be read.
        """
        if isinstance(self._processor, VLMProcessor):
            return self.text_ids(text)
        turn = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        asked, answered = self._ids_around_pictures(messages), self._ids_around_pictures([*messages, turn], True)
        if answered[: len(asked)] != asked:
            raise ValueError(
                "the chat template writes an answer elsewhere than it asks for one: give the answer as ids"
            )
        return answered[len(asked) :]

    def _encode(self, messages: Messages) -> tuple[list[int], list[_Found]]:
        processor = self._processor
        ids, pictures = processor.encode_prompt(messages)
        settings = _preprocessing(processor.image_processor) if pictures else b""

        def found(picture: Image.Image) -> _Found:
            pixels = picture.width * picture.height
            image = PreparedImage(lambda: processor(images=[picture])["pixel_values"][0], pixels)
            return image_key(picture, settings), processor.num_image_tokens, image

        return ids, [found(picture) for picture in pictures]

    def _encode_with_transformers(self, messages: Messages) -> tuple[list[int], list[_Found]]:
        """Of another processor only its pixel values are known to tell all, so they are made at once."""
        encoded = self.tensors(messages)

        def found(index: int, pixels: Tensor) -> _Found:
            placeholders = self._processor.replace_image_token(encoded, index).count(self._processor.image_token)
            return pixels_key(pixels), placeholders, PreparedImage(lambda: pixels)

        pixel_values = encoded.get("pixel_values", ())
        return encoded["input_ids"][0].tolist(), [found(n, pixels) for n, pixels in enumerate(pixel_values)]

    def _ids_around_pictures(self, messages: Messages, continue_final_message: bool = False) -> list[int]:
        """What another processor's template makes of `messages`, one placeholder for each picture."""
        plain, _ = self._for_template(messages)
        text = self._processor.apply_chat_template(
            plain,
            add_generation_prompt=not continue_final_message,
            continue_final_message=continue_final_message,
            tokenize=False,
        )
        return self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _for_template(self, messages: Messages) -> tuple[list[dict[str, Any]], Sequence[ImageSource]]:
        """The messages as transformers' templates take them, and what their pictures are read from."""
        conversation = chat.read_conversation(messages)
        # A turn's parts as one: the template puts nothing between them.
        self._refuse_control_tokens("".join(filter(None, turn.parts)) for turn in conversation.turns)
        plain = chat.template_messages(messages, conversation, image_token=None)
        return [{**one, **rendered} for one, rendered in zip(messages, plain, strict=True)], conversation.images

    def _refuse_control_tokens(self, texts: Iterable[str]) -> None:
        """Another processor's tokenizer cannot tell what was typed from what the template writes itself."""
        known = self._processor.tokenizer.added_tokens_decoder.values()
        control = [str(token) for token in known if token.special and str(token) != self._processor.image_token]
        if found := next((token for text in texts for token in control if token in text), None):
            raise ValueError(f"the text holds {found!r}, a control token of this model: leave it out")


def _plain_tokenizer(processor: Any) -> Any:
    """A tokenizer that takes control tokens for text, for good: it is a state of it, which threads would share."""
    tokenizer = copy.deepcopy(processor.tokenizer)
    tokenizer("", split_special_tokens=True)
    return tokenizer


def find_images(ids: Sequence[int], image_token_id: int, lengths: Sequence[int]) -> list[int]:
    """Where each image's placeholders start, given how many stand for each, in order.

    >>> find_images([7, 34, 34, 34, 34, 8], 34, [2, 2])
    [1, 3]

    Raises:
        ValueError: there are more or fewer placeholders than that, or some stand apart from the rest of their image.
    """
    places = [position for position, token in enumerate(ids) if token == image_token_id]
    if len(places) != sum(lengths):
        raise ValueError(
            f"the prompt has {len(places)} image placeholders, but its {len(lengths)} images take {sum(lengths)}: "
            "text must not hold the placeholder itself"
        )
    starts: list[int] = []
    taken = 0
    for index, length in enumerate(lengths):
        run = places[taken : taken + length]
        if run[-1] - run[0] != length - 1:
            raise ValueError(f"image {index}: its {length} placeholders from position {run[0]} on are not in a row")
        starts.append(run[0])
        taken += length
    return starts


def image_key(picture: Image.Image, preprocessing: bytes) -> bytes:
    """SHA-256 of a picture in RGB and of how it is prepared."""
    assert picture.mode == "RGB", "of a palette's indices, say, the pixels alone do not tell the colours"
    size = [side.to_bytes(8, "big") for side in picture.size]
    return _digest(b"picture", picture.mode.encode(), *size, preprocessing, picture.tobytes())


def pixels_key(pixel_values: Tensor) -> bytes:
    """SHA-256 of a tensor: dtype, shape and bytes."""
    raw = pixel_values.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return _digest(b"pixel values", str(pixel_values.dtype).encode(), str(tuple(pixel_values.shape)).encode(), raw)


def _check_salt(salt: bytes) -> None:
    if not isinstance(salt, bytes):
        raise ValueError(f"salt is bytes, not {type(salt).__name__}")


def _open(source: ImageSource, index: int) -> Image.Image:
    return load_rgb(source, f"sample 0, image {index}")


def _preprocessing(image_processor: BaseImageProcessor) -> bytes:
    """Everything that the pixel values depend on beside the picture, as canonical JSON.

    The class as well: `to_dict` gives those of Pillow and torchvision one name, but they round differently.
    """
    kind = type(image_processor)
    described = {"class": f"{kind.__module__}.{kind.__qualname__}", "settings": image_processor.to_dict()}
    return json.dumps(described, sort_keys=True, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value.tolist()


def _digest(*fields: bytes) -> bytes:
    """SHA-256 over the fields, each behind its length, so that what leaves one cannot pass for part of the next."""
    digest = hashlib.sha256()
    for field in fields:
        digest.update(len(field).to_bytes(8, "big"))
        digest.update(field)
    return digest.digest()
