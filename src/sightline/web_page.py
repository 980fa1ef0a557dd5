"""Pages of one file that need no network: a template of some package, filled in, and pictures inside it.

What a page shows is its package's business.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from sightline.whole_file import write_whole

__all__ = ["data_uri", "write_page"]


def write_page(
    path: Path, package: str, template: str, values: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] = {}
) -> Path:
    """Fill in a Jinja template from the folder `templates` of `package`, write it to `path`, and return the path.

    Whatever is filled in is text, never markup, unless it is marked as such. Templates that this one imports can call
    `functions` too. The file is whole, or is not there.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(functions)
    page = environment.get_template(template).render(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)
    return path


def data_uri(picture: Image.Image, side: int, quality: int) -> str:
    """The picture as a WebP inside a data URI, at most `side` pixels a side."""
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    data = io.BytesIO()
    small.save(data, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
