"""The prompts of `/v1/completions`: texts or token ids to go on from, without a template.

A text stays text, whatever is typed; an id is taken if it stands for text. It knows no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

from sightline.engine.engine import Prepared
from sightline.serving.errors import APIError
from sightline.serving.schemas.completions import Prompts
from sightline.serving.settings import Limits
from sightline.serving.state import State

__all__ = ["check_prompts", "listed", "read_prompts"]


def listed(prompts: Prompts) -> list[str | list[int]]:
    """A request's prompts, of which one alone needs no list."""
    if isinstance(prompts, str) or isinstance(prompts[0], int):
        return [prompts]
    return list(prompts)


def check_prompts(prompts: Sequence[str | list[int]], limits: Limits) -> None:
    """Raises APIError where all prompts together are longer than the server takes."""
    most = limits.prompt_chars
    length = sum(map(len, prompts))
    if length > most:
        message = f"prompts of {length} characters or ids are more than the {most} that are taken"
        raise APIError(message, param="prompt", code="context_length_exceeded")


def read_prompts(prompts: Sequence[str | list[int]], state: State, salt: bytes) -> list[Prepared]:
    """What the engine takes. It may take a while: call it in a worker thread.

    Raises:
        APIError: a prompt is empty, or an id stands for no text.
    """
    controls = _control_ids(state)
    fields = [f"prompt[{index}]" if len(prompts) > 1 else "prompt" for index in range(len(prompts))]
    return [_read(one, state, salt, controls, field) for one, field in zip(prompts, fields, strict=True)]


def _read(given: str | list[int], state: State, salt: bytes, controls: frozenset[int], field: str) -> Prepared:
    if not isinstance(given, str):
        _check_ids(given, state, controls, field)
    prepared = state.engine.prepare_text(given, salt)
    if not prepared.prompt.ids:
        raise APIError(f"{field} is empty: there is nothing to go on from", param=field)
    return prepared


def _check_ids(given: list[int], state: State, controls: frozenset[int], field: str) -> None:
    most = min(state.model.config.vocab_size, len(state.processor.tokenizer))
    begin = state.processor.tokenizer.bos_token_id  # which a text may begin with
    own = given[1:] if given[:1] == [begin] else given
    if wrong := {token for token in own if token >= most or token in controls}:
        message = f"token {min(wrong)} stands for no text: control tokens and placeholders are the chat template's"
        raise APIError(f"{field}: {message}", param=field)


def _control_ids(state: State) -> frozenset[int]:
    tokenizer = state.processor.tokenizer
    added = {token for token, one in tokenizer.added_tokens_decoder.items() if one.special}
    return frozenset(added | set(tokenizer.all_special_ids) | {state.processor.image_token_id})
