"""transformers' `LlavaProcessor`, whose chat template is rendered within bounds of time and size.

The template is a stranger's. `sightline.rendering` renders it; transformers then renders a template that only writes
down what came out, so that everything behind it stays transformers' own.
"""

from __future__ import annotations

import itertools
from typing import Any

from transformers import LlavaProcessor

from sightline.rendering import render, template_variables

__all__ = ["BoundedLlavaProcessor"]

# Every second piece is the assistant's.
_AS_IT_IS = """\
{%- for piece in messages[0].pieces -%}
    {%- if loop.index0 % 2 -%}
        {%- generation -%}{{- piece -}}{%- endgeneration -%}
    {%- else -%}
        {{- piece -}}
    {%- endif -%}
{%- endfor -%}
"""


class BoundedLlavaProcessor(LlavaProcessor):
    """As its base class; a template that would not end, or fill the memory, is a ValueError."""

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Any,
        chat_template: str | None = None,
        tools: Any = None,
        documents: Any = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        return_assistant_tokens_mask: bool = False,
        sanitize_control_tokens: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As transformers'. Raises ValueError as `sightline.rendering.render`, and for `sanitize_control_tokens`."""
        if sanitize_control_tokens:
            raise ValueError("sanitize_control_tokens is not supported for a Llava processor: leave it out")
        if continue_final_message and (add_generation_prompt or return_assistant_tokens_mask):
            raise ValueError("continue_final_message excludes add_generation_prompt and return_assistant_tokens_mask")
        template = self._resolve_chat_template(chat_template)
        conversations, is_batched = self._normalize_conversations(conversation)
        variables = {name: kwargs.pop(name) for name in template_variables(template) & kwargs.keys()}
        texts, spans = render(
            conversations,
            template,
            tools=tools,
            documents=documents,
            return_assistant_tokens_mask=return_assistant_tokens_mask,
            continue_final_message=continue_final_message,
            add_generation_prompt=add_generation_prompt,
            **{**self.tokenizer.special_tokens_map, **variables},
        )
        prepared = [
            [{**messages[0], "pieces": _pieces(text, spans[n] if spans else [])}, *messages[1:]]
            for n, (messages, text) in enumerate(zip(conversations, texts, strict=True))
        ]
        return super().apply_chat_template(
            prepared if is_batched else prepared[0],
            chat_template=_AS_IT_IS,
            return_assistant_tokens_mask=return_assistant_tokens_mask,
            **kwargs,
        )


# By this name a saved one is found by transformers; by the other, a pickled one is found here.
BoundedLlavaProcessor.__name__ = "LlavaProcessor"


def _pieces(text: str, spans: list[tuple[int, int]]) -> list[str]:
    cuts = [0, *(place for span in spans for place in span), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(cuts)]
