"""Conversations through a chat template, as transformers renders them; the template may be anybody's.

`render` gives what `transformers.utils.chat_template_utils.render_jinja_template` gives, but a template that would not
end, or fill the memory, is an error. It knows no tokens and no images.
"""

from __future__ import annotations

import functools
import inspect
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
import jinja2.meta

from sightline.bounded_jinja import BoundedEnvironment, Rendering

__all__ = ["render", "template_variables"]

Span = tuple[int, int]


def render(
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    chat_template: str,
    tools: Sequence[Any] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    return_assistant_tokens_mask: bool = False,
    continue_final_message: bool | str = False,
    add_generation_prompt: bool = False,
    **variables: Any,
) -> tuple[list[str], list[list[Span]]]:
    """The text of each conversation and, if asked for, the spans of it that `generation` blocks wrote.

    Args:
        continue_final_message: the text ends with the last message's content, or with that field of it.
        variables: of the template.

    Raises:
        ValueError: the template fails, or takes more time or memory than any needs; a tool is neither a schema nor a
            function; the final message does not come out as it went in.
    """
    given = {**variables, "tools": tools and [_schema(tool) for tool in tools], "documents": documents}
    given = {**_plain(given), "add_generation_prompt": add_generation_prompt}
    texts, spans = [], []
    for conversation in conversations:
        messages, cut = _plain(list(conversation)), None
        if continue_final_message:
            field = continue_final_message if isinstance(continue_final_message, str) else "content"
            cut = _mark_end(messages, field)
        text, found = _run(chat_template, {**given, "messages": messages})
        texts.append(text if cut is None else _cut(text, *cut))
        spans.append(found)
    return texts, spans if return_assistant_tokens_mask else []


def template_variables(chat_template: str) -> frozenset[str]:
    """The names that a template asks its caller for. Raises ValueError where it cannot be read."""
    try:
        return frozenset(jinja2.meta.find_undeclared_variables(_environment().parse(chat_template)))
    except Exception as error:
        raise _unreadable(error) from error


@functools.cache
def _environment() -> BoundedEnvironment:
    environment = BoundedEnvironment()
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


@functools.lru_cache(maxsize=32)
def _compiled(chat_template: str) -> jinja2.Template:
    return _environment().from_string(chat_template)


def _run(chat_template: str, variables: dict[str, Any]) -> tuple[str, list[Span]]:
    rendering = Rendering()
    try:
        return rendering.run(_compiled(chat_template), variables), rendering.spans
    except Exception as error:  # a stranger's program: it can raise anything
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> ValueError:
    what = " ".join(str(error).split())[:300] or type(error).__name__
    return ValueError(f"the chat template cannot be rendered: {what}")


def _mark_end(messages: list[Any], field: str) -> tuple[str, str]:
    """Put a mark behind the last message's text: the text, and the mark, which ends with a space."""
    content = messages[-1].get(field) if messages else None
    parts = content if isinstance(content, list) else []
    last = next((part for part in reversed(parts) if isinstance(part, dict) and "text" in part), None)
    text = content if isinstance(content, str) else last and last["text"]
    if not isinstance(text, str):
        raise ValueError(f"continue_final_message: the final message has no text in {field!r} to go on from")
    mark = f"{secrets.token_hex(16)} "
    if last is None:
        messages[-1][field] = text + mark
    else:
        last["text"] = text + mark
    return text, mark


def _cut(rendered: str, text: str, mark: str) -> str:
    """`rendered` up to the mark; where the template trimmed what ends with it, the text before is trimmed, too."""
    place = rendered.rfind(mark.strip())
    if place < 0 or text.strip() not in rendered:
        raise ValueError("continue_final_message: the chat template does not write the final message as it is")
    found = rendered[:place]
    return found if rendered.startswith(mark, place) else found.rstrip()


def _schema(tool: Any) -> Any:
    if inspect.isfunction(tool) or inspect.ismethod(tool):
        from transformers.utils import get_json_schema

        return get_json_schema(tool)
    if not isinstance(tool, Mapping):
        raise ValueError(f"a tool is a JSON schema or a function, not {type(tool).__name__}")
    return tool


def _plain(value: Any) -> Any:
    """`value` in plain types of JSON; what is none (a picture) is there by its type's name alone.

    A template may call any public method of what it sees, and those of a picture write files.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind in (str, int, float):  # subclasses bring methods of their own
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return f"<{type(value).__name__}>"
