"""How many tokens a request took, as OpenAI's API counts them: the same in chats, completions and their streams."""

from __future__ import annotations

from sightline.serving.schemas.base import Answer

__all__ = ["CompletionTokensDetails", "PromptTokensDetails", "Usage"]


class PromptTokensDetails(Answer):
    """`cached_tokens` were not computed again; `image_tokens` stand for pictures, `text_tokens` are all others."""

    cached_tokens: int
    image_tokens: int
    text_tokens: int
    audio_tokens: int


class CompletionTokensDetails(Answer):
    """All are text: this server has neither hidden reasoning nor predicted outputs."""

    text_tokens: int
    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class Usage(Answer):
    """Counts of tokens. The prompt counts once, however many answers it gets; the token that ends one counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
