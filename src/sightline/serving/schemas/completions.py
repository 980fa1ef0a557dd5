"""`POST /v1/completions`: texts to go on from, and how they go on; the chunks of a stream have the same shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, WithJsonSchema

from sightline.serving.schemas.base import Answer, MaxTokens, Sampling, Unsupported
from sightline.serving.schemas.usage import Usage

__all__ = ["Completion", "CompletionChoice", "CompletionLogprobs", "CompletionRequest", "Prompts", "TokenIds"]

TokenIds = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1)]


def _kind(value: Any) -> str | None:
    """Which of the four forms a prompt has; that of a list shows in its first item."""
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], str):
        return "<texts>"
    return "<rows>" if isinstance(value[0], list) else "<ids>"


# That it is not empty is checked where it is read: an error here would end with the tag.
_Text = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1})]
Prompts = Annotated[
    Annotated[_Text, Tag("<text>")]
    | Annotated[list[_Text], Tag("<texts>")]
    | Annotated[TokenIds, Tag("<ids>")]
    | Annotated[list[TokenIds], Tag("<rows>")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="it has to be a text, token ids, or a list of either, and not empty",
    ),
]


class CompletionRequest(Sampling):
    """Texts to go on from, without any template: what is typed stays text, and there are no pictures."""

    prompt: Prompts
    max_tokens: MaxTokens | None = Field(None, description="The most tokens of each answer; 16 unless it is given.")
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = Field(
        None, description="Tell how probable each token was, and this many of the likeliest at its place."
    )
    echo: bool | None = Field(None, description="Put the prompt before the answer; not with `logprobs`.")
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: Unsupported = None


class CompletionLogprobs(Answer):
    """The answer's tokens, in parallel lists; `text_offset` is where each begins in the text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Answer):
    """One answer; those to the first prompt come first."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class Completion(Answer):
    """How the prompts go on. In a stream `usage` is as in a chat's."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    system_fingerprint: str
