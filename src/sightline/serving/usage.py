"""What an answer says of itself beside its text: an id, which server gave it, and how many tokens it took."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import sightline
from sightline.engine.request import Reply
from sightline.serving.errors import APIError
from sightline.serving.schemas.usage import CompletionTokensDetails, PromptTokensDetails, Usage
from sightline.serving.settings import Settings
from sightline.serving.state import State

__all__ = ["Mark", "check_finished", "check_model", "fingerprint", "new_id", "usage_of"]


@dataclass(frozen=True)
class Mark:
    """What an answer and each chunk of it bear: which one it is, when it was made (Unix seconds), and by what."""

    id: str
    created: int
    model: str
    fingerprint: str


def check_model(name: str, settings: Settings) -> None:
    """Raises APIError (404) where `name` is not the model that is served."""
    if name != settings.model_name:
        message = f"this server has one model, {settings.model_name!r}: GET /v1/models tells"
        raise APIError(message, status=404, param="model", code="model_not_found")


def check_finished(replies: Sequence[Reply]) -> None:
    """Raises APIError (503) where an answer was ended because the server stops."""
    if any(reply.finish_reason == "cancelled" for reply in replies):
        raise APIError("the server stopped before the answer was whole", status=503, code="stopping")


def new_id(prefix: str) -> str:
    """An id that nobody can guess, as `chatcmpl-...`."""
    return f"{prefix}{secrets.token_hex(12)}"


def fingerprint(state: State) -> str:
    """A word that changes with what else an answer depends on beside the request: model, precision and versions."""
    model = state.model
    parts = sorted({type(module).__name__ for module in model.modules()})  # quantised ones are other classes
    versions = sightline.__version__, torch.__version__
    said = json.dumps([versions, str(model.dtype), parts, model.config.to_dict()], sort_keys=True, default=str)
    return f"fp_{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def usage_of(prompts: Sequence[Sequence[Reply]]) -> Usage:
    """What the answers to some prompts took together. A prompt counts once; its first answer tells what was cached."""
    firsts = [replies[0].usage for replies in prompts]
    written = sum(reply.usage.completion_tokens for replies in prompts for reply in replies)
    prompt, images = sum(one.prompt_tokens for one in firsts), sum(one.image_tokens for one in firsts)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=written,
        total_tokens=prompt + written,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=sum(one.cached_tokens for one in firsts),
            image_tokens=images,
            text_tokens=prompt - images,
            audio_tokens=0,
        ),
        completion_tokens_details=CompletionTokensDetails(
            text_tokens=written,
            reasoning_tokens=0,
            audio_tokens=0,
            accepted_prediction_tokens=0,
            rejected_prediction_tokens=0,
        ),
    )
