"""How what programs read is printed: one JSON object."""

from __future__ import annotations

import codecs
import json
import sys
from typing import Any

__all__ = ["print_json"]


def print_json(content: Any) -> None:
    """One line of JSON: in plain letters where stdout takes Unicode, in JSON's escapes where it does not."""
    takes_all = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    print(json.dumps(content, ensure_ascii=not takes_all))
