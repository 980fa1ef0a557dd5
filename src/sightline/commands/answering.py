"""Stream one answer to the terminal, and tell what it took: what `ask` and `chat` share.

It knows messages and text. How tokens come about is the engine's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def stream_answer(
    engine: Any, messages: list[dict[str, Any]], on_text: Callable[[str], None] = lambda _: None, **options: Any
) -> Any:
    """The engine's `Reply` to `messages`, every finished piece of text given to `on_text` as it comes.

    Raises:
        ValueError: the messages or their images are wrong, or the prompt is too long for the model.
    """
    handle = engine.submit(messages, **options)
    for piece in handle:
        on_text(piece)
    return handle.result()


def as_dict(reply: Any) -> dict[str, Any]:
    """A reply as one flat JSON object; times in seconds since the question was asked."""
    return {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.usage.prompt_tokens,
        "image_tokens": reply.usage.image_tokens,
        "cached_tokens": reply.usage.cached_tokens,
        "completion_tokens": reply.usage.completion_tokens,
        "time_to_first_token": reply.timings.first_token,
        "seconds": reply.timings.total,
        "tokens_per_second": reply.timings.tokens_per_second,
    }


def stats_line(reply: Any) -> str:
    """What an answer took, in a line."""
    usage, timings = reply.usage, reply.timings
    return (
        f"{usage.prompt_tokens} prompt tokens ({usage.image_tokens} of images), "
        f"first token after {timings.first_token:.2f} s, "
        f"{usage.completion_tokens} tokens at {timings.tokens_per_second:.0f} tokens/s"
    )
