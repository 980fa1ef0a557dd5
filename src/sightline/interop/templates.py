"""A text model's chat template, taught to show images and to mark what the assistant says.

The template itself stays as it is, inside a frame of Jinja: before it, messages made of parts become plain
strings; after it, what it rendered is cut where assistants speak, and those stretches are put into `generation`
blocks, from which transformers tells the supervised tokens. What the frame must know (how a turn is opened and
closed) is found by rendering. This file knows no tokenizer and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sightline.rendering import render

__all__ = ["CHATML", "frame"]

# What a tokenizer without a template of its own gets.
CHATML = """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
# Noncharacters around what an assistant says; those of `chat.mark` are others.
_BEGIN, _END = "\ufdd0", "\ufdd1"
# A thought before each answer is not in the data, and today's date would make two runs differ.
_FIXED: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}

_BEFORE = """\
{%- if enable_thinking is not defined -%}{%- set enable_thinking = false -%}{%- endif -%}
{%- if date_string is not defined -%}{%- set date_string = DATE -%}{%- endif -%}
{%- set plain = namespace(messages=[]) -%}
{%- for message in messages -%}
    {%- set content -%}
        {%- if message.content is string -%}
            {{- message.content -}}
        {%- else -%}
            {%- for part in message.content -%}{{- IMAGE if part.type == 'image' else part.text -}}{%- endfor -%}
        {%- endif -%}
    {%- endset -%}
    {%- if BEGIN in content or END in content -%}
        {{- raise_exception('the noncharacters U+FDD0 and U+FDD1 are the chat template\\'s own') -}}
    {%- endif -%}
    {%- set content = BEGIN + content + END if message.role == 'assistant' else content -%}
    {%- set plain.messages = plain.messages + [dict(message, content=content)] -%}
{%- endfor -%}
{%- set messages = plain.messages -%}
{%- set rendered %}"""
# `rest` is what follows the last assistant's turn: it opens the next one, if there is a next.
_AFTER = """{% endset -%}
{%- set walk = namespace(rest='') -%}
{%- for piece in rendered.split(BEGIN) -%}
    {%- if loop.first -%}
        {%- set walk.rest = piece -%}
    {%- else -%}
        {%- set said = piece.split(END, 1) -%}
        {%- set opened = OPENED -%}
        {%- set closed = said[1].split(CLOSE, 1) -%}
        {{- opened[0] + (OPEN if opened | length == 2 else '') -}}
        {%- generation -%}
            {{- (opened[1] if opened | length == 2 else '') + said[0] -}}
            {{- closed[0] + CLOSE if closed | length == 2 else '' -}}
        {%- endgeneration -%}
        {%- set walk.rest = closed[-1] -%}
    {%- endif -%}
{%- endfor -%}
{{- walk.rest -}}
"""
_OWN_MARKS = re.compile(r"(\{%-?\s*)(end)?generation(\s*-?%\})")


def frame(
    template: str, image_token: str, special_tokens: Iterable[str], variables: Mapping[str, Any]
) -> tuple[str, str]:
    """`template` for messages of text and images, with the assistant's words and its end of turn marked.

    Args:
        image_token: what stands once for each image.
        special_tokens: the tokens that may end a turn.
        variables: what the template is rendered with besides the messages (`bos_token` and the like).

    Returns:
        the framed template, and the token that ends the assistant's turn.

    Raises:
        ValueError: the template cannot be rendered or changes what is said, the assistant's turn ends with no
            special token, or the framed template would write another text.
    """
    template = _OWN_MARKS.sub(lambda m: f"{m[1]}{'endif' if m[2] else 'if true'}{m[3]}", template)
    template = template.removesuffix("\n")  # as Jinja does at a template's end
    opening, closing = _turn(template, special_tokens, variables)
    names = {"IMAGE": image_token, "BEGIN": _BEGIN, "END": _END, "CLOSE": closing, "DATE": _FIXED["date_string"]}
    names["OPEN"] = opening
    after = _AFTER.replace("OPENED", "walk.rest.rsplit(OPEN, 1)" if opening else "[walk.rest]")
    framed = _fill(_BEFORE, names) + template + _fill(after, names)
    _check(framed, template, closing, variables)
    return framed, closing


def _fill(text: str, names: Mapping[str, str]) -> str:
    """`text` with each name in capitals replaced by its value as a Jinja string."""
    pattern = re.compile(rf"\b({'|'.join(names)})\b")
    return pattern.sub(lambda m: ascii(names[m[1]]), text)


def _turn(template: str, special_tokens: Iterable[str], variables: Mapping[str, Any]) -> tuple[str, str]:
    """What opens the assistant's turn where one is asked for, and the token that closes it."""
    asked, answered = _conversation(1)[:1], _conversation(1)
    bare = _render(template, asked, variables)
    prompt = _render(template, asked, variables, add_generation_prompt=True)
    opening = prompt.removeprefix(bare) if prompt.startswith(bare) else ""
    _, there, suffix = _render(template, answered, variables).partition(answered[1]["content"])
    if not there:
        raise ValueError("it does not write the assistant's words as they are")
    found = [(suffix.index(token), token) for token in special_tokens if token and token in suffix]
    if not found:
        raise ValueError("it ends the assistant's turn with no special token, so nothing could learn to stop")
    return opening, min(found)[1]


def _check(framed: str, template: str, closing: str, variables: Mapping[str, Any]) -> None:
    for turns in (1, 2):
        for messages in (_conversation(turns), _conversation(turns)[:-1]):
            for prompt in (True, False):
                expected = _render(template, messages, variables, add_generation_prompt=prompt)
                if _render(framed, messages, variables, add_generation_prompt=prompt) != expected:
                    raise ValueError("it writes another text where its messages are made of parts")
    messages = _conversation(2)
    text, spans = _rendered(framed, messages, variables, return_assistant_tokens_mask=True)
    said = [text[start:end] for start, end in spans]
    answers = [message["content"] for message in messages[1::2]]
    if len(said) != 2 or not all(a in s and s.endswith(closing) for a, s in zip(answers, said, strict=True)):
        raise ValueError("it does not close each of the assistant's turns with the same token")


def _conversation(turns: int) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": role, "content": f"{role}'s words {turn}"} for turn in range(turns) for role in roles]


def _render(template: str, messages: list[dict[str, str]], variables: Mapping[str, Any], **options: Any) -> str:
    return _rendered(template, messages, variables, **options)[0]


def _rendered(
    template: str, messages: list[dict[str, str]], variables: Mapping[str, Any], **options: Any
) -> tuple[str, list[tuple[int, int]]]:
    """The text of one conversation and, if asked for, the spans that its assistants say."""
    try:
        texts, spans = render([messages], template, **{**_FIXED, **variables, **options})
    except ValueError as error:
        raise ValueError(str(error).replace("the chat template", "it")) from None
    return texts[0], spans[0] if spans else []
