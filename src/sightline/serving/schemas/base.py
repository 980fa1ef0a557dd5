"""What the bodies of all requests share: how strictly they are read, and the fields that mean the same everywhere.

Types are never converted and unknown fields never ignored. Only bounds that hold for every server stand here; those
that come of its settings or its model are checked where they are known (`sampling.py`, `messages.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = [
    "Answer",
    "Body",
    "Empty",
    "FrequencyPenalty",
    "LogitBias",
    "MaxTokens",
    "MinP",
    "ModelName",
    "NumberOfAnswers",
    "Off",
    "PresencePenalty",
    "RepetitionPenalty",
    "Request",
    "Sampling",
    "Seed",
    "Stop",
    "StreamOptions",
    "Temperature",
    "TopK",
    "TopP",
    "Unsupported",
    "by",
]


class Body(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Answer(BaseModel):
    """What a client gets. A field that is not set is left out where the route says so (`exclude_unset`)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def by(field: str, *values: str) -> Discriminator:
    """Tell the members of a union apart by `field`; each is tagged `Tag("<value>")`.

    The brackets mark the tag in the place of an error, from where it is dropped: a client knows no tags.
    """

    def tag(value: Any) -> str | None:
        found = value.get(field) if isinstance(value, dict) else getattr(value, field, None)
        return f"<{found}>" if found in values else None

    known = f"{', '.join(values[:-1])} or {values[-1]}" if values[1:] else values[0]
    return Discriminator(tag, custom_error_type="kind", custom_error_message=f"its {field} has to be {known}")


def _refuse(value: Any) -> None:
    if value is not None:
        raise PydanticCustomError("unsupported", "this server does not support it: leave it out")


def _refuse_true(value: bool) -> bool:
    if value:
        _refuse(value)
    return value


def _refuse_any(values: list[Any]) -> list[Any]:
    if values:
        _refuse(values)
    return values


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _check_metadata(given: dict[str, str]) -> dict[str, str]:
    """OpenAI's bounds: a response says it again, and a stream three times."""
    if len(given) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in given.items()):
        raise PydanticCustomError("too_long", "it has at most 16 pairs, of 64 and 512 characters")
    return given


Metadata = Annotated[
    dict[str, str],
    AfterValidator(_check_metadata),
    Field(json_schema_extra={"maxProperties": 16, "propertyNames": {"maxLength": 64}}),
]
# A field of OpenAI's API that would change the answer and cannot: only null, as some clients send it.
Unsupported = Annotated[None, BeforeValidator(_refuse), WithJsonSchema({"type": "null"})]
# The same of a switch: only where it is off.
Off = Annotated[bool, AfterValidator(_refuse_true), WithJsonSchema({"type": "boolean", "const": False})]
# Of what this server does not have, a list of none.
Empty = Annotated[list[Any], AfterValidator(_refuse_any), WithJsonSchema({"type": "array", "maxItems": 0})]
Harmless = "Accepted, and without effect."

ModelName = Annotated[str, Field(description="The name that `GET /v1/models` gives.")]
Temperature = Annotated[
    float,
    Field(ge=0, le=2, description="0, the default, takes the likeliest token each time; above that it is sampled."),
]
TopP = Annotated[float, Field(ge=0, le=1, description="Sample from the likeliest tokens that make up this much.")]
TopK = Annotated[int, Field(ge=0, le=2**31 - 1, description="Sample from this many likeliest tokens; 0: from all.")]
MinP = Annotated[float, Field(ge=0, le=1, description="Leave out tokens below this part of the likeliest one's.")]
FrequencyPenalty = Annotated[float, Field(ge=-2, le=2, description="Taken off a token's logit each time it was said.")]
PresencePenalty = Annotated[float, Field(ge=-2, le=2, description="Taken off a token's logit once it has been said.")]
RepetitionPenalty = Annotated[
    float, Field(ge=0.01, le=100, description="Divides the logits of tokens in prompt and answer; 1: does nothing.")
]
LogitBias = Annotated[
    dict[str, Annotated[float, Field(ge=-100, le=100)]],
    Field(description="Added to the logits of tokens, whose ids are the keys."),
]
Seed = Annotated[
    int,
    Field(ge=-(2**63), lt=2**63, description="The same seed samples the same answer. Answer i of n has seed + i."),
]
NumberOfAnswers = Annotated[int, Field(ge=1, description="How many answers; the server's limit is 8 unless it is set.")]
MaxTokens = Annotated[int, Field(ge=1, description="The most tokens of an answer, the one that ends it included.")]
_StopText = Annotated[str, Field(min_length=1)]
Stop = Annotated[
    list[_StopText],
    BeforeValidator(_listed, json_schema_input_type=_StopText | list[_StopText]),
    Field(description="A text that ends the answer, or a list of them; it is not part of the answer."),
]


class StreamOptions(Body):
    """How an answer is streamed."""

    include_usage: bool | None = Field(None, description="End with one more chunk, without choices, that has `usage`.")
    include_obfuscation: Off | None = Field(None, description="Nothing is added to the chunks.")


class Request(Body):
    """The model that is asked, and what cannot change its answer."""

    model: ModelName
    user: str | None = Field(None, description=Harmless)
    metadata: Metadata | None = Field(None, description=Harmless)
    store: bool | None = Field(None, description=Harmless)
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = Field(
        None, description=Harmless
    )
    prompt_cache_key: str | None = Field(None, description=Harmless)
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = Field(None, description=Harmless)
    safety_identifier: str | None = Field(None, description=Harmless)


class Sampling(Request):
    """How an answer's tokens are chosen, and how it comes. Null means the default everywhere."""

    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    frequency_penalty: FrequencyPenalty | None = None
    presence_penalty: PresencePenalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    logit_bias: LogitBias | None = None
    seed: Seed | None = None
    n: NumberOfAnswers | None = None
    stop: Stop | None = None
    stream: bool | None = Field(None, description="Send the answer as server-sent events while it is written.")
    stream_options: StreamOptions | None = Field(None, description="Only with `stream`.")
