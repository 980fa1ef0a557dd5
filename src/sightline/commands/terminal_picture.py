"""Draw a picture in a terminal with coloured half blocks: two pixels a character."""

from __future__ import annotations

import sys

from PIL import Image


def draw(image: Image.Image, width: int = 48) -> None:
    """Print `image`, at most `width` characters wide and as many lines high, to stderr; only its size where that is no
    terminal, or one without colours."""
    from rich.color import Color
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    console = Console(file=sys.stderr)
    if not console.is_terminal or console.no_color or console.color_system is None:
        print(f"[a picture of {image.width} x {image.height} pixels]", file=sys.stderr)
        return
    most = min(width, console.width)
    scale = min(most / image.width, 2 * most / image.height)
    columns, rows = max(1, round(image.width * scale)), max(2, round(image.height * scale / 2) * 2)
    pixels = image.resize((columns, rows)).load()
    assert pixels is not None
    for y in range(0, rows, 2):
        line = Text()
        for x in range(columns):
            upper, lower = Color.from_rgb(*pixels[x, y]), Color.from_rgb(*pixels[x, y + 1])  # type: ignore[misc]
            line.append("▀", Style(color=upper, bgcolor=lower))
        console.print(line)
