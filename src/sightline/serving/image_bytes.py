"""A stranger's picture file, cut down to what its pixels need before any decoder sees it.

Names, comments, profiles, thumbnails and further frames are where small files cost much: parsers of them run block by
block, copy what overlaps, or unpack what was packed. None of them changes a pixel, so none is kept, and of EXIF and
XMP only the orientation is read. What is left is a PNG, JPEG, WebP or GIF whose cost its size and its pixels bound.
This file decodes nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["PlainPicture", "plain_picture"]

_BLOCKS = 20_000  # chunks, segments or sub-blocks of a file: ten times what cameras and encoders write
_SCANS = 12  # of a JPEG of as many pixels as allowed; progressive ones have ten

# The next marker: what follows an FF in coded data is 00 or the number of a restart.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOI, _EOI, _TEM, _SOS, _APP0, _APP1, _APP14 = 0xD8, 0xD9, 0x01, 0xDA, 0xE0, 0xE1, 0xEE
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, Huffman-coded: all that is about
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_XMP, _XMP_IN_PNG = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp\0\0"  # of which a PNG's is not packed
_ORIENTED = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_TABLES = (0xC4, 0xDB, 0xDD)  # Huffman tables, quantization tables, the restart interval


class PlainPicture(NamedTuple):
    """A file of nothing but pixels, what Pillow calls its format, and the orientation that EXIF, or else XMP, told (1:
    upright).
    """

    data: bytes
    format: str
    orientation: int


def plain_picture(data: bytes, max_pixels: int) -> PlainPicture:
    """`data` without what its pixels do not need; of an animation, the first frame.

    Args:
        max_pixels: those of the largest picture that will be decoded. A JPEG can ask to have them all refined
            thousands of times over; the bound on that is a dozen times for one so large, more for a smaller one.

    Raises:
        ValueError: it is of no such format, or in more parts than a picture has.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data, max_pixels)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    raise ValueError("it is no PNG, JPEG, WebP or GIF file")


def _png(data: bytes) -> PlainPicture:
    """Of an APNG this is the picture that stands in it for those who know no APNG."""
    kept = [data[:8]]
    in_exif = in_xmp = 0
    seen_header = False
    for start, end, kind in _png_chunks(data):
        if kind == b"IHDR" and seen_header:
            raise ValueError("it has two headers")
        seen_header = seen_header or kind == b"IHDR"
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[start:end])
        elif kind == b"eXIf":
            in_exif = _in_exif(data[start + 8 : end - 4])
        elif kind == b"iTXt" and data[start + 8 : end].startswith(_XMP_IN_PNG):
            in_xmp = _in_xmp(data[start + 8 : end])
    return PlainPicture(b"".join(kept), "PNG", in_exif or in_xmp or 1)


def _png_chunks(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    start, count = 8, 0
    while start + 12 <= len(data):
        count = _one_more(count)
        length, kind = struct.unpack_from(">I4s", data, start)
        yield start, start + 12 + length, kind
        if kind == b"IEND":
            return
        start += 12 + length


def _jpeg(data: bytes, max_pixels: int) -> PlainPicture:
    kept, pixels, scans, count = [data[:2]], 0, 0, 0
    in_exif = in_xmp = 0
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        count = _one_more(count)
        start, marker = found.start(), data[found.start() + 1]
        if marker == _EOI:
            kept.append(data[start : start + 2])
            break
        if marker in (_SOI, _TEM):
            position = start + 2
            continue
        end = _segment_end(data, start)
        segment, position = data[start:end], end
        if marker == _SOS:
            scans += 1
            coded = _MARKER.search(data, end)
            position = coded.start() if coded else len(data)
            kept.append(data[start:position])
        elif marker in _FRAMES:
            if pixels or len(segment) < 10:
                raise ValueError("its header is damaged")
            height, width = struct.unpack_from(">HH", segment, 5)
            pixels = height * width
            kept.append(segment)
        elif marker in _OTHER_FRAMES:
            raise ValueError("it is a JPEG of a kind that nothing writes: save it as a baseline JPEG")
        elif marker in _TABLES or _tells_colours(marker, segment):
            kept.append(segment)
        elif marker == _APP1 and segment[4:10] == b"Exif\0\0":
            in_exif = in_exif or _in_exif(segment[10:])
        elif marker == _APP1 and segment[4:].startswith(_XMP):
            in_xmp = in_xmp or _in_xmp(segment)
    if scans * min(pixels, max_pixels) > _SCANS * max_pixels:
        raise ValueError(f"it is a JPEG of {scans} scans, too many for its size: save it as a baseline JPEG")
    return PlainPicture(b"".join(kept), "JPEG", in_exif or in_xmp or 1)


def _segment_end(data: bytes, start: int) -> int:
    if start + 4 > len(data):
        return len(data)
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    if length < 2:
        raise ValueError("it is damaged")
    return start + 2 + length


def _tells_colours(marker: int, segment: bytes) -> bool:
    """JFIF's and Adobe's segments: of the latter, whether CMYK is inverted."""
    return (marker == _APP0 and segment[4:9] == b"JFIF\0") or (marker == _APP14 and segment[4:9] == b"Adobe")


def _gif(data: bytes) -> PlainPicture:
    """Up to the first frame. Its own data is left as it is, with whatever follows: the decoder stops at its end."""
    start = 13 + _colours(data, 10)
    kept, count, control = [data[:start]], 0, b""
    while data[start : start + 1] == b"!":
        end = start + 2
        while end < len(data) and data[end]:
            count = _one_more(count)
            end += 1 + data[end]
        end += 1
        count = _one_more(count)
        if data[start + 1 : start + 2] == b"\xf9":  # which colour of the next frame is transparent
            control = data[start:end]
        start = end
    if data[start : start + 1] != b",":
        raise ValueError("it is damaged, or has no picture in it")
    return PlainPicture(b"".join([*kept, control, data[start:]]), "GIF", 1)


def _colours(data: bytes, place: int) -> int:
    """How many bytes the table takes that the flags at `place` announce."""
    flags = data[place] if place < len(data) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> PlainPicture:
    kept, in_exif, in_xmp, count = [], 0, 0, 0
    start, frames = 12, 0
    while start + 8 <= len(data):
        count = _one_more(count)
        kind, length = struct.unpack_from("<4sI", data, start)
        end = start + 8 + length + (length & 1)
        if kind == b"VP8X":  # its flags promise a profile, EXIF and XMP
            flags = bytes(flag & 0x12 for flag in data[start + 8 : start + 9])  # alpha, animation
            kept.append(data[start : start + 8] + flags + data[start + 9 : end])
        elif kind == b"ANMF":
            frames += 1
            kept += [data[start:end]] if frames == 1 else []
        elif kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM"):
            kept.append(data[start:end])
        elif kind == b"EXIF":
            block = data[start + 8 : end]
            in_exif = _in_exif(block.removeprefix(b"Exif\0\0"))
        elif kind == b"XMP ":
            in_xmp = _in_xmp(data[start + 8 : end])
        start = end
    body = b"WEBP" + b"".join(kept)
    return PlainPicture(b"RIFF" + struct.pack("<I", len(body)) + body, "WEBP", in_exif or in_xmp or 1)


def _in_exif(exif: bytes) -> int:
    """The tag `Orientation` of the first directory; 0 where it is missing."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 0
    (start,) = struct.unpack_from(order + "I", exif, 4)
    if start + 2 > len(exif):
        return 0
    (count,) = struct.unpack_from(order + "H", exif, start)
    for entry in range(start + 2, min(start + 2 + 12 * min(count, 512), len(exif) - 11), 12):
        tag, kind, values, value = struct.unpack_from(order + "HHIH", exif, entry)
        if (tag, kind, values) == (0x0112, 3, 1):
            return value if 1 <= value <= 8 else 1
    return 0


def _in_xmp(block: bytes) -> int:
    """The first `tiff:Orientation`; 0 where there is none."""
    found = _ORIENTED.search(block)
    return int(found[1]) if found else 0


def _one_more(count: int) -> int:
    if count >= _BLOCKS:
        raise ValueError(f"it is in more than {_BLOCKS} parts: save it anew, without its metadata")
    return count + 1
