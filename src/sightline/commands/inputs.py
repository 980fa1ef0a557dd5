"""Pictures and a question from the command line, opened before any model is loaded: what `ask` and `explain` share."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["open_inputs"]


def open_inputs(images: list[str], question: str) -> tuple[list[Any], str]:
    """The pictures in RGB, and the question; '-' is stdin, once.

    Raises:
        ValueError, FileNotFoundError: a picture cannot be opened, or the question is empty or a file.
    """
    from sightline.images import MAX_BYTES, open_image, to_rgb

    if [*images, question].count("-") > 1:
        raise ValueError("stdin ('-') can be read once: as one image or as the question")
    if question == "-":
        question = sys.stdin.read().rstrip("\r\n")  # as a shell does
    if not question.strip():
        raise ValueError("the question is empty")
    if os.path.isfile(question):
        raise ValueError(f"{question!r} is a file: give the question after it")
    return [to_rgb(open_image(_from_stdin(MAX_BYTES) if s == "-" else s)) for s in images], question


def _from_stdin(most: int) -> bytes:
    data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise ValueError(f"the image from stdin has more than the {most} bytes allowed")
    return data
