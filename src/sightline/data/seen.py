"""A row as the model sees it: pictures after preprocessing, and the tokens that it reads, with those that carry loss.

It opens pictures and asks the processor; how that looks on a page is `page.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sightline.data.conversation import ChatRow
from sightline.data.encoder import Encoder
from sightline.data.sample import sample_of
from sightline.images import load_rgb

__all__ = ["Piece", "SeenPicture", "SeenRow", "pieces_of", "prepared", "see"]

_CUT = "\ufffd"  # what a piece of a character decodes to


@dataclass(frozen=True)
class Piece:
    """What one token says, or the fewest that are whole characters; `kind` is text, control or image."""

    text: str
    kind: str
    loss: bool
    tokens: int


@dataclass(frozen=True)
class SeenPicture:
    """A picture in RGB, and what of it reaches the tower."""

    given: Image.Image
    prepared: Image.Image


@dataclass(frozen=True)
class SeenRow:
    """A row's name, pictures and pieces; or `error`, why it has none."""

    where: str
    pictures: Sequence[SeenPicture] = ()
    pieces: Sequence[Piece] = ()
    error: str = ""

    @property
    def tokens(self) -> int:
        return sum(piece.tokens for piece in self.pieces)

    @property
    def supervised(self) -> int:
        return sum(piece.tokens for piece in self.pieces if piece.loss)


def see(where: str, row: ChatRow | Exception, encoder: Encoder) -> SeenRow:
    """The row as the model sees it. What cannot be read is told, not raised."""
    try:
        if isinstance(row, Exception):
            raise row
        sample = sample_of(row)
        ((ids, mask),), _ = encoder.encode_rows([(sample["messages"], sample["images"])])
        given = [load_rgb(source, f"picture {number}") for number, source in enumerate(row.images, start=1)]
    except (ValueError, FileNotFoundError) as error:
        return SeenRow(where, error=str(error).removeprefix(where).lstrip(":, "))
    pictures = [SeenPicture(picture, prepared(picture, encoder.image_processor)) for picture in given]
    return SeenRow(where, pictures, list(pieces_of(ids, mask, encoder)))


def prepared(picture: Image.Image, image_processor: Any) -> Image.Image:
    """What is left of a picture in RGB when the tower gets it: the pixel values, turned back into colours."""
    values = np.asarray(image_processor([picture], return_tensors="np")["pixel_values"][0], dtype=np.float32)
    if getattr(image_processor, "do_normalize", True):
        mean, std = (np.array(getattr(image_processor, name))[:, None, None] for name in ("image_mean", "image_std"))
        values = values * std + mean
    return Image.fromarray(np.rint(255 * values.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0))


def pieces_of(ids: Sequence[int], mask: Sequence[int], encoder: Encoder) -> Iterator[Piece]:
    """The ids as pieces, in order; each picture's placeholders are one."""
    control = {token for token, added in encoder.tokenizer.added_tokens_decoder.items() if added.special}
    start = 0
    while start < len(ids):
        loss, stop = bool(mask[start]), start + 1
        if ids[start] == encoder.image_token_id:
            stop = start + encoder.num_image_tokens
            yield Piece("", "image", loss, encoder.num_image_tokens)
        elif ids[start] in control:
            yield Piece(encoder.decode([ids[start]]), "control", loss, 1)
        else:
            text = encoder.decode(list(ids[start:stop]))
            # A character has four bytes at most; what is cut after that was typed so.
            while (
                _CUT in text and stop < min(start + 4, len(ids)) and ids[stop] not in control | {encoder.image_token_id}
            ):
                stop += 1
                text = encoder.decode(list(ids[start:stop]))
            yield Piece(text, "text", loss, stop - start)
        start = stop
