"""Pictures as files: good ones, and the parts that bad ones are made of."""

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(image, format="PNG", **options):
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def data_uri(data, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def noise(width=40, height=30, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def chunk(kind, body=b""):
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(png, *chunks):
    """A PNG with more chunks right behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def png_header(width, height):
    """A PNG that says how large it is, and has no pixel."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND")


def exif(orientation, order="<"):
    """A block of EXIF that tells the orientation and nothing else."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return head + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
