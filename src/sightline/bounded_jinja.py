"""Jinja for templates of strangers: jinja2's sandbox, and bounds of time and size in it.

The sandbox keeps a template from Python's internals, but not from a loop in a loop or a text that doubles forty times.
Here each round of a loop, call, filter, test and operator counts as a step, what goes in and comes out of it is
weighed, and what may come out much larger than what goes in is looked at before it is done. The bounds are counts, not
seconds, so that a busy machine refuses nothing. This file knows no messages.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

__all__ = ["BoundedEnvironment", "Rendering"]

MAX_SOURCE = 1_000_000  # characters of a template
MAX_STEPS = 200_000  # about half a second
MAX_SIZE = 10_000_000  # characters and items of any value, and of all that is written
MAX_GROWTH = 100_000_000  # of what an operation could make of its operands, before it is done
MAX_BITS = 10_000  # of a whole number

# Filters and methods whose result grows with a number, and those in which one text is put into another many times.
_GROW_BY_NUMBER = frozenset(
    {
        *("batch", "center", "expandtabs", "indent", "ljust", "rjust"),
        *("round", "slice", "tojson", "wordwrap", "zfill"),
    }
)
_GROW_BY_TEXT = frozenset({"indent", "join", "replace", "translate", "wordwrap"})
_AT_A_GLANCE = frozenset({"count", "first", "last", "length"})  # these look at no more than one item
_WIDE = re.compile(r"%[-#0 +]*(\d*\.)?(\*|\d{5,})|\{[^{}]*:[^{}]*(\{|\d{5,})")  # field widths of % and str.format
_LEFT_OUT = ("urlize", "pprint", "sum")  # slow on some texts or lists, and of no use in a prompt


@dataclass
class Rendering:
    """What one template has taken so far, and where the assistant speaks in what it has written."""

    steps: int = 0
    written: int = 0
    yielded: int = 0  # characters that have left the template
    spans: list[tuple[int, int]] = field(default_factory=list)

    def run(self, template: jinja2.Template, variables: Mapping[str, Any]) -> str:
        """The whole text. Raises jinja2.TemplateError, or what an operation on wrong types raises."""
        before = _current.set(self)
        try:
            pieces = []
            for piece in template.generate(**variables):
                pieces.append(piece)
                self.yielded += len(piece)
            return "".join(pieces)
        finally:
            _current.reset(before)

    def step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > MAX_STEPS:
            raise jinja2.TemplateRuntimeError(f"it takes more than {MAX_STEPS} steps")


_current: ContextVar[Rendering] = ContextVar("rendering")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """As transformers' for chat templates: loop controls, `generation` blocks, `raise_exception`, plain `tojson`."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        # Not optimised: what is constant would be computed, without bounds, while the template is compiled.
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[_GenerationBlock, loopcontrols]
        )
        self.globals |= {"raise_exception": _raise, "dict": _dict, "namespace": _namespace}
        del self.globals["lipsum"]
        for name in _LEFT_OUT:
            del self.filters[name]
        self.filters["tojson"] = _tojson
        self.filters = {name: _bounded(name, function) for name, function in self.filters.items()}
        self.tests = {name: _bounded(name, function) for name, function in self.tests.items()}
        self.filters |= {"_counted": _counted, "_joined": _joined, "_weighed": _weighed, "_written": _written}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > MAX_SOURCE:
            raise jinja2.TemplateSyntaxError(f"it has {len(source)} characters, more than {MAX_SOURCE}", 1)
        tree = _Instrument().visit(super()._parse(source, name, filename))
        return tree.set_environment(self)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        operands = (getattr(__obj, "__self__", None), *args, *kwargs.values())
        _check_growth(getattr(__obj, "__name__", ""), operands)
        _weigh(*operands)
        return _weighed(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, list) and isinstance(right, list):
            return _one_list(left, right)
        _check_operator(operator, left, right)
        return _weighed(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        made, form = super().wrap_str_format(value), getattr(value, "__self__", "")
        if made is None:
            return None

        @functools.wraps(made)
        def formatted(*args: Any, **kwargs: Any) -> str:
            _check_form(form, *args, *kwargs.values())
            return made(*args, **kwargs)

        return formatted


def _bounded(name: str, function: Any) -> Callable[..., Any]:
    """A filter or test that weighs what it is given and what it gives."""

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        operands = (*args, *kwargs.values())
        _check_growth(name, operands)
        if name in _AT_A_GLANCE:  # or a template that asks for it in each round of a loop would be too much
            _current.get().step()
        else:
            _weigh(*operands)
        result = function(*args, **kwargs)
        # What comes one by one could not be weighed.
        return _weighed(list(result) if isinstance(result, Iterator) else result)

    return bounded


class _GenerationBlock(Extension):
    """`{% generation %}`: what the assistant says. Only blocks outside of macros stand where they say they do."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("said"), [], [], body, lineno=line)

    def said(self, caller: Callable[[], str]) -> str:
        text, rendering = caller(), _current.get()
        rendering.spans.append((rendering.yielded, rendering.yielded + len(text)))
        return text


class _Instrument(NodeTransformer):
    """Puts filters that count and weigh around what the environment does not hear of itself."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_counted")
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [
            _filtered(
                nodes.Const(child.data) if isinstance(child, nodes.TemplateData) else child, "_written", node.lineno
            )
            for child in node.nodes
        ]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes), "_joined", node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "_weighed")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "_weighed")
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "_weighed") if isinstance(node.arg, nodes.Slice) else node

    def visit_NSRef(self, node: nodes.NSRef) -> nodes.Node:
        _check_names([node.attr])
        return node


def _filtered(node: nodes.Node, name: str, line: int | None = None) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=line or node.lineno)


def _weigh(*values: Any) -> int:
    """Characters and items in all of them, through and through; it counts as steps, too."""
    rendering, weight, todo, items = _current.get(), 0, list(values), 0
    while todo:
        value = todo.pop()
        items += 1
        if isinstance(value, (str, bytes)):
            weight += len(value)
        elif isinstance(value, Mapping):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)):
            todo += value
        elif isinstance(value, range):
            items += len(value)
        elif isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise jinja2.TemplateRuntimeError(f"it computes with numbers of more than {MAX_BITS} bits")
        if weight + items > MAX_SIZE:
            raise jinja2.TemplateRuntimeError(f"it makes a value of more than {MAX_SIZE} characters")
        if rendering.steps + items > MAX_STEPS:
            break
    rendering.step(items + weight // 1024)
    return weight + items


def _weighed(value: Any) -> Any:
    _weigh(value)
    return value


def _written(value: Any) -> Any:
    rendering = _current.get()
    rendering.written += _weigh(value)
    if rendering.written > MAX_SIZE:
        raise jinja2.TemplateRuntimeError(f"it writes more than {MAX_SIZE} characters")
    return value


def _joined(values: list[Any]) -> str:
    _weigh(values)
    return "".join(map(str, values))


def _counted(values: Any) -> Any:
    """What a loop goes over, each round a step."""
    rendering = _current.get()
    if isinstance(values, (str, list, tuple, dict, range)):
        rendering.step(len(values))
        return values
    return _one_by_one(values, rendering)


def _one_by_one(values: Any, rendering: Rendering) -> Iterator[Any]:
    for value in values:
        rendering.step()
        yield value


def _check_growth(name: str, operands: tuple[Any, ...]) -> None:
    """Refuse a filter or method whose result could be far larger than its operands."""
    if name == "format" and operands:
        _check_form(*operands)
    if name in _GROW_BY_NUMBER:
        numbers = [abs(value) for value in operands if isinstance(value, int)]
        _check_size(max(numbers, default=1) * _weigh(*operands))
    if name in _GROW_BY_TEXT:
        first, second, *_ = [*sorted(map(_weigh, operands), reverse=True), 1, 1]
        _check_size(first * second)


def _one_list(left: list[Any], right: list[Any]) -> list[Any]:
    """Both, one behind the other. What is in them was weighed when it was made, and is not copied."""
    length = len(left) + len(right)
    if length > MAX_SIZE:
        raise jinja2.TemplateRuntimeError(f"it makes a list of more than {MAX_SIZE} items")
    _current.get().step(1 + length // 64)
    return left + right


def _check_operator(operator: str, left: Any, right: Any) -> None:
    weight = _weigh(left, right)
    if operator == "%" and isinstance(left, (str, bytes)):
        _check_form(left, right)
    if operator == "*":
        _check_size(weight * max(_count(left), _count(right)))
    if operator == "**" and isinstance(left, int) and isinstance(right, int):
        _check_size(MAX_GROWTH // MAX_BITS * left.bit_length() * abs(right))


def _count(value: Any) -> int:
    """How often a sequence that is multiplied by `value` is there."""
    return abs(value) if isinstance(value, int) and value.bit_length() < 64 else 1


def _check_size(size: int) -> None:
    if size > MAX_GROWTH:
        raise jinja2.TemplateRuntimeError(f"it could make a value of more than {MAX_GROWTH} characters")


def _check_form(form: Any, *values: Any) -> None:
    """Refuse what formatting could make too large: wide fields, or one value in many of them."""
    text = form.decode("latin-1") if isinstance(form, bytes) else str(form) if isinstance(form, str) else ""
    if _WIDE.search(text):
        raise jinja2.TemplateRuntimeError("it formats with a width that is too large or computed")
    _check_size((text.count("{") + text.count("%")) * _weigh(*values))


def _check_names(names: Any) -> None:
    for name in names:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.sandbox.SecurityError(f"it stores an attribute {name!r}: leave the underscore out")


def _raise(message: Any) -> None:
    raise jinja2.TemplateError(str(message))


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _namespace(*args: Any, **kwargs: Any) -> Namespace:
    values = dict(*args, **kwargs)
    _check_names(values)
    return Namespace(values)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    import json

    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
