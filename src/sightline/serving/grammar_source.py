"""What a client asks an answer to be held to, checked, in the words that llguidance takes; and its complaints in ours.

Nothing is compiled here: these are the limits that can be counted. It knows no tokens.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal

from sightline.serving.errors import APIError
from sightline.serving.settings import Limits

__all__ = ["Kind", "complaint_of", "grammar_source"]

Kind = Literal["json_object", "json_schema", "regex", "choice"]

MAX_ENUM_VALUES = 1000  # as OpenAI's structured outputs, in all of a schema
MAX_PROPERTIES = 256  # a row of the parser has four items for each optional one

_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"enum", "const", "default", "examples"})
_COUNTED = {
    "enum": ("enum values", MAX_ENUM_VALUES),
    "properties": ("properties", MAX_PROPERTIES),
    "patternProperties": ("patterns of properties", MAX_PROPERTIES),
    "required": ("required properties", MAX_PROPERTIES),
}

# What llguidance says, where it tells the client something, and how we say it.
_COMPLAINTS = (
    (r"Unimplemented keys: \[([^\]\n]{1,200})\]", "uses {}, which this server does not support"),
    (r"oneOf constraints are not supported", "has a oneOf whose cases overlap: use anyOf"),
    (r"disjoint", "has patternProperties that overlap: make each name match one of them"),
    (r"min/maxProperties only supported", "has minProperties or maxProperties beside optional properties"),
    (r"Unknown format: ([\w.-]{1,40})$", "asks for the format {}, which this server does not know"),
    (r"Invalid type: ([\w.-]{1,40})$", "asks for the type {}, which does not exist"),
    (r"Pointer '|is not present in a registry", "refers to something that is not in the schema"),
    (r"look-?around|look-ahead|backreferences", "looks around or back, which this server does not support"),
    (r"regex parse error:[\s\S]*\nerror: ([a-z][a-z <>=,()-]{1,90})(?:\n|$)", "is no regular expression: {}"),
    (r"regex parse error|invalid regex", "is no regular expression that this server can read"),
    (r"Unsatisfiable|NoExtension", "cannot be met by any text"),
    (r"too (?:large|many|big|complex)|fuel|precomputation|; max is|TooComplex|limit|determine", "is too complex"),
)
TOO_LONG = "is too complex: it takes too long to compile"


def grammar_source(kind: Kind, value: Any, param: str, limits: Limits) -> str:
    """The grammar for llguidance.

    Raises:
        APIError: it is of the wrong type, or beyond a limit; names `param`.
    """
    return _READERS[kind](value, param, limits)


def complaint_of(said: str) -> str:
    """What to tell a client of a grammar of which llguidance `said` this: half a sentence, one line."""
    for pattern, ours in _COMPLAINTS:
        if found := re.search(pattern, said):
            return ours.format(*(group.replace('"', "") for group in found.groups()))
    return "is nothing that an answer can be held to: check it"


def _object(value: Any, param: str, limits: Limits) -> str:
    return _from_schema({"type": "object"})


def _schema(value: Any, param: str, limits: Limits) -> str:
    if not isinstance(value, dict):
        raise _refused(param, "is a JSON Schema: an object")
    totals: Counter[str] = Counter()
    for keyword, found in _keywords(value, param, limits):
        _check_keyword(keyword, found, param)
        if keyword in _COUNTED and isinstance(found, (dict, list)):
            totals[keyword] += len(found)
            what, most = _COUNTED[keyword]
            if totals[keyword] > most:
                raise _refused(param, f"has more than the {most} {what} that this server takes: shorten it")
    try:
        _check_size(json.dumps(value, ensure_ascii=False, allow_nan=False), param, limits)
        return _from_schema(value)
    except (TypeError, ValueError):
        raise _refused(param, "is not JSON: check its numbers") from None


def _check_keyword(keyword: str, value: Any, param: str) -> None:
    if keyword == "$ref" and not (isinstance(value, str) and value.startswith("#")):
        raise _refused(param, "has a $ref to something outside of it: put it into $defs")
    if keyword == "x-guidance":
        raise _refused(param, "uses x-guidance, which this server does not support")


def _keywords(schema: dict[str, Any], param: str, limits: Limits) -> Iterator[tuple[str, Any]]:
    """Each keyword and its value, of the schema and those inside it; what a schema only quotes is no schema.

    Without recursion: what nests too deep for the limit may nest too deep for Python.
    """
    todo: list[tuple[Any, str, int]] = [(schema, "schema", 1)]
    while todo:
        node, role, depth = todo.pop()
        if not isinstance(node, (dict, list)):
            continue
        if depth > limits.json_depth:
            raise _refused(param, f"nests deeper than the {limits.json_depth} levels that this server takes")
        if isinstance(node, list):
            todo += [(child, role, depth + 1) for child in node]
            continue
        for key, child in node.items():
            if role == "schema":
                yield key, child
            todo.append((child, _role(role, key), depth + 1))


def _role(role: str, key: str) -> str:
    if role == "data" or (role == "schema" and key in _DATA):
        return "data"
    return "map" if role == "schema" and key in _MAPS else "schema"


def _from_schema(schema: dict[str, Any]) -> str:
    from llguidance import LLMatcher

    # No white space between tokens: with it a model can go on for ever without saying anything.
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})


def _regex(value: Any, param: str, limits: Limits) -> str:
    from llguidance import LLMatcher

    if not isinstance(value, str):
        raise _refused(param, "is a regular expression: a string")
    _check_size(value, param, limits)
    if (len(value) - len(value.rstrip("\\"))) % 2:  # which llguidance would drop without a word
        raise _refused(param, "is no regular expression: it ends within an escape")
    return LLMatcher.grammar_from_regex(value)


def _choice(value: Any, param: str, limits: Limits) -> str:
    from llguidance import LLMatcher

    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(text, str) for text in value):
        raise _refused(param, "is a list of at least one string")
    if len(value) > limits.choices:
        raise _refused(param, f"has {len(value)} choices, but this server takes {limits.choices}: shorten it")
    _check_size("".join(value), param, limits)
    return LLMatcher.grammar_from_lark("start: " + " | ".join(map(json.dumps, value)))


def _check_size(text: str, param: str, limits: Limits) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _refused(param, "has a lone surrogate in it, which is no character") from None
    if size > limits.grammar_bytes:
        raise _refused(param, f"has {size} bytes, but this server takes {limits.grammar_bytes}: shorten it")


def _refused(param: str, why: str) -> APIError:
    return APIError(f"{param} {why}", param=param, code="invalid_grammar")


_READERS: dict[str, Callable[[Any, str, Limits], str]] = {
    "json_object": _object,
    "json_schema": _schema,
    "regex": _regex,
    "choice": _choice,
}
