"""The drawn things: their names, and their pictures by each artist, read from the atlas when first needed.

It does not know scenes or questions. OpenMoji is the held-out artist: the world refuses to train on it, so
that a test on it asks whether a model knows a duck, or only some drawings of a duck.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from io import BytesIO

from PIL import Image

__all__ = [
    "ARTISTS",
    "HELD_OUT_ARTIST",
    "TRAIN_ARTISTS",
    "Noun",
    "artists_of",
    "check_name",
    "choose_nouns",
    "noun_of",
    "nouns",
    "sprite",
]

TRAIN_ARTISTS = (
    "noto",
    "noto-v1",
    "twemoji",
    "fluent-emoji",
    "fluent-emoji-flat",
    "emojione",
    "streamline-emojis",
)
HELD_OUT_ARTIST = "openmoji"
ARTISTS = (*TRAIN_ARTISTS, HELD_OUT_ARTIST)

SIZE_BUCKET = 8  # pixels: sprites are cached at multiples of this
MOST_KEPT = 128  # pixels: wider ones are not, or pictures of 1024 pixels would have a process keep gigabytes


@dataclass(frozen=True)
class Noun:
    """A thing that can be drawn: its names, and which artists have not drawn it."""

    id: str
    category: str
    en: str
    en_plural: str
    zh: str
    zh_measure: str
    missing: tuple[str, ...] = ()


def check_name(what: str, given: str, known: Iterable[str]) -> str:
    """`given`, if it is one of `known`.

    Raises:
        ValueError: otherwise, with the nearest known name.
    """
    known = list(known)
    if given in known:
        return given
    nearest = difflib.get_close_matches(str(given), known, n=1, cutoff=0.0)
    raise ValueError(f"unknown {what} {given!r}: did you mean {nearest[0]!r}? Known: {', '.join(known)}")


def _file(name: str) -> bytes:
    return (resources.files("sightline") / "assets" / "atlas" / name).read_bytes()


@lru_cache(maxsize=1)
def _table() -> dict:
    return json.loads(_file("things.json"))


@lru_cache(maxsize=1)
def nouns() -> tuple[Noun, ...]:
    """All things, in an order that mixes categories: the first N are a balanced choice."""
    fields = ("id", "category", "en", "en_plural", "zh", "zh_measure")
    return tuple(
        Noun(**{field: row[field] for field in fields}, missing=tuple(row.get("missing", ())))
        for row in _table()["things"]
    )


@lru_cache(maxsize=1)
def _by_id() -> dict[str, Noun]:
    return {noun.id: noun for noun in nouns()}


def noun_of(thing: str) -> Noun:
    """The thing with this id.

    Raises:
        ValueError: for an unknown thing.
    """
    found = _by_id().get(thing)
    return found if found is not None else _by_id()[check_name("thing", thing, _by_id())]


def choose_nouns(things: Sequence[str] | int | None, artists: Sequence[str]) -> tuple[Noun, ...]:
    """The things with these ids, or so many of them, or all; less those that none of the artists has drawn.

    Raises:
        ValueError: for an unknown thing, a number that the atlas does not have, or if nothing is left.
    """
    if isinstance(things, int):
        if not 1 <= things <= len(nouns()):
            raise ValueError(f"things: {things} asked for, but the atlas has 1 to {len(nouns())}")
        chosen = nouns()[:things]
    else:
        chosen = nouns() if things is None else tuple(noun_of(thing) for thing in dict.fromkeys(things))
    chosen = tuple(noun for noun in chosen if set(artists) - set(noun.missing))
    if not chosen:
        raise ValueError(f"none of the things asked for is drawn by {', '.join(artists) or 'no artist'}")
    return chosen


@lru_cache(maxsize=4096)
def artists_of(noun: Noun, artists: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `artists` who have drawn `noun`."""
    return tuple(artist for artist in artists if artist not in noun.missing)


@lru_cache(maxsize=len(ARTISTS))
def _sheet(artist: str) -> Image.Image:
    check_name("artist", artist, ARTISTS)
    return Image.open(BytesIO(_file(f"{artist}.webp"))).convert("RGBA")


@lru_cache(maxsize=1)
def _index() -> dict[str, int]:
    return {noun.id: index for index, noun in enumerate(nouns())}


@lru_cache(maxsize=6000)  # about 100 MB of sprites of a ninth of a 224 pixel picture, at most 400
def _kept(thing: str, artist: str, pixels: int) -> Image.Image:
    return _scaled(thing, artist, pixels)


def _scaled(thing: str, artist: str, pixels: int) -> Image.Image:
    index, side, columns = _index()[thing], _table()["sprite"], _table()["columns"]
    left, top = index % columns * side, index // columns * side
    full = _sheet(artist).crop((left, top, left + side, top + side))
    return full.resize((pixels, pixels), Image.Resampling.LANCZOS)


def sprite(thing: str, artist: str, pixels: float) -> Image.Image:
    """The picture of `thing` by `artist`: square, RGBA, about `pixels` a side. Shared: do not change it.

    Raises:
        ValueError: for an unknown thing or artist.
    """
    check_name("thing", thing, _index())
    side = max(SIZE_BUCKET, round(pixels / SIZE_BUCKET) * SIZE_BUCKET)
    return _kept(thing, artist, side) if side <= MOST_KEPT else _scaled(thing, artist, side)
