"""From a request's fields to the engine's `SamplingParams`, one for each answer.

Here stand the bounds that come of the server's settings and of the model; what is wrong is said by the client's own
name for it. It knows neither messages nor HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.engine.request import SamplingParams
from sightline.serving.errors import APIError
from sightline.serving.schemas.base import Sampling
from sightline.serving.state import State

__all__ = ["check_stream_options", "sampling_fields", "to_params"]

# Those that the engine calls the same, and that have its defaults.
_SAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
)


def sampling_fields(body: Sampling) -> dict[str, Any]:
    """Those of a body's fields that `to_params` takes as they are."""
    return {name: value for name in _SAME if (value := getattr(body, name)) is not None}


def check_stream_options(body: Sampling) -> None:
    """Raises APIError where options of a stream are given without one."""
    if body.stream_options is not None and not body.stream:
        raise APIError("stream_options is for stream=true: leave it out", param="stream_options")


def to_params(
    state: State,
    *,
    max_tokens: int | None = None,
    max_tokens_field: str = "max_tokens",
    n: int | None = None,
    seed: int | None = None,
    stop: Sequence[str] | None = None,
    logit_bias: Mapping[str, float] | None = None,
    logprobs: int | None = None,
    logprobs_field: str = "top_logprobs",
    **same: float | None,
) -> list[SamplingParams]:
    """How each of the `n` answers is chosen. None means the default: greedy, one answer, as long as there is room.

    Args:
        max_tokens_field, logprobs_field: what the client calls them.
        same: temperature, top_p, top_k, min_p and the three penalties.

    Raises:
        APIError: a value is beyond what the server's settings or the model allow; `param` names the field.
    """
    limits = state.settings.limits
    count = 1 if n is None else n
    _check_most("n", count, limits.n)
    if logprobs is not None:
        _check_most(logprobs_field, logprobs, limits.top_logprobs)
    params = SamplingParams(
        max_new_tokens=_max_new_tokens(state, max_tokens, max_tokens_field),
        logit_bias=_biases(logit_bias or {}, state),
        stop=_stops(stop or (), state),
        logprobs=logprobs,
        **{name: value for name, value in same.items() if value is not None},  # type: ignore[arg-type]
    )
    return [params if seed is None else params.replace(seed=seed + index) for index in range(count)]


def _check_most(field: str, value: int, most: int) -> None:
    if value > most:
        raise APIError(f"{field} is at most {most} on this server, not {value}", param=field, code="invalid_value")


def _max_new_tokens(state: State, asked: int | None, field: str) -> int:
    room: int = state.model.config.max_position_embeddings
    most = state.settings.limits.max_tokens or room
    if asked is not None:
        _check_most(field, asked, most)
    return most if asked is None else asked


def _stops(stop: Sequence[str], state: State) -> tuple[str, ...]:
    limits = state.settings.limits
    if len(stop) > limits.stop:
        raise APIError(f"stop has {len(stop)} texts, but at most {limits.stop} are taken", param="stop")
    for index, text in enumerate(stop):
        if len(text) > limits.stop_chars:
            message = f"a stop text has at most {limits.stop_chars} characters, not {len(text)}"
            raise APIError(message, param=f"stop[{index}]" if len(stop) > 1 else "stop")
    return tuple(stop)


def _biases(given: Mapping[str, float], state: State) -> dict[int, float]:
    most, vocabulary = state.settings.limits.logit_bias, state.model.config.vocab_size
    if len(given) > most:
        raise APIError(f"logit_bias has {len(given)} tokens, but at most {most} are taken", param="logit_bias")
    found = {_token(key, vocabulary): value for key, value in given.items()}
    if found.get(placeholder := state.model.config.image_token_id, 0) > 0:
        text = f"logit_bias makes token {placeholder} likelier, which stands for pictures and is never said"
        raise APIError(f"{text}: leave it out", param="logit_bias")
    return found


def _token(key: str, vocabulary: int) -> int:
    # The length first: there are strings of digits that take long to read. One writing for each number, so that no
    # two keys mean the same token.
    if len(key) < 10 and key.isascii() and key.isdigit() and (token := int(key)) < vocabulary and str(token) == key:
        return token
    message = f"the keys of logit_bias are token ids from 0 to {vocabulary - 1}, as strings"
    raise APIError(message, param="logit_bias")
