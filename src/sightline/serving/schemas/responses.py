"""`POST /v1/responses`: what is asked, what is answered, and the events of a stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from sightline.serving.schemas.base import (
    Answer,
    Body,
    Empty,
    MaxTokens,
    Off,
    Request,
    Temperature,
    TopP,
    Unsupported,
    by,
)
from sightline.serving.schemas.items import Item

__all__ = [
    "DeltaEvent",
    "Event",
    "Failure",
    "Incomplete",
    "InputTokensDetails",
    "ItemEvent",
    "JsonObjectOutput",
    "JsonSchemaOutput",
    "OutputFormat",
    "OutputLogprob",
    "OutputMessage",
    "OutputText",
    "OutputTokensDetails",
    "OutputTopLogprob",
    "PartEvent",
    "PlainOutput",
    "Response",
    "ResponseEvent",
    "ResponseRequest",
    "ResponseUsage",
    "TextEvent",
    "TextSettings",
]


def _forget(value: Any) -> None:
    if value is not None:
        raise PydanticCustomError("unsupported", "this server keeps no responses: send the earlier messages in input")


_Forgotten = Annotated[None, BeforeValidator(_forget), WithJsonSchema({"type": "null"})]


class PlainOutput(Body):
    """Any text."""

    type: Literal["text"]


class JsonObjectOutput(Body):
    """Some JSON object."""

    type: Literal["json_object"]


class JsonSchemaOutput(Body):
    """JSON of a given schema, which the answer keeps to whether `strict` says so or not."""

    model_config = ConfigDict(populate_by_name=False)

    type: Literal["json_schema"]
    name: str = Field(max_length=64, min_length=1)
    json_schema: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


OutputFormat = Annotated[
    Annotated[PlainOutput, Tag("<text>")]
    | Annotated[JsonObjectOutput, Tag("<json_object>")]
    | Annotated[JsonSchemaOutput, Tag("<json_schema>")],
    by("type", "text", "json_object", "json_schema"),
]


class TextSettings(Body):
    """What the answer's text looks like."""

    format: OutputFormat | None = None
    verbosity: Unsupported = None


class ResponseStreamOptions(Body):
    """How an answer is streamed."""

    include_obfuscation: Off | None = Field(None, description="Nothing is added to the events.")


def _items(given: Any) -> Any:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


_Items = Annotated[list[Item], Field(min_length=1)]


class ResponseRequest(Request):
    """A conversation to be answered. Nothing of it is kept, whatever `store` says, and the answer says so."""

    input: Annotated[_Items, BeforeValidator(_items, json_schema_input_type=str | _Items)]
    instructions: str | None = Field(None, description="A system message before all others.")
    max_output_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    text: TextSettings | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = Field(
        None, description="Whether to tell how probable each token of the answer was."
    )
    top_logprobs: Annotated[int, Field(ge=0)] | None = Field(
        None, description="With `include`: tell it of this many of the likeliest tokens at each place, too."
    )
    stream: bool | None = Field(None, description="Send the answer as server-sent events while it is written.")
    stream_options: ResponseStreamOptions | None = Field(None, description="Only with `stream`.")
    truncation: Literal["disabled"] | None = Field(None, description="What is too long is refused, never cut.")
    background: Off | None = None
    conversation: _Forgotten = None
    previous_response_id: _Forgotten = None
    access_programs: Unsupported = None
    background_options: Unsupported = None
    context_management: Unsupported = None
    image: Unsupported = None
    max_tool_calls: Unsupported = None
    moderation: Unsupported = None
    parallel_tool_calls: bool | None = Field(None, description="There are no tools, so it changes nothing.")
    prompt: Unsupported = None
    prompt_cache_options: Unsupported = None
    reasoning: Unsupported = None
    tool_choice: Literal["none"] | None = None
    tools: Empty | None = None


class OutputTopLogprob(Answer):
    """One of the likeliest tokens at a place."""

    token: str
    logprob: float
    bytes: list[int]


class OutputLogprob(OutputTopLogprob):
    """A token of the answer."""

    top_logprobs: list[OutputTopLogprob]


class OutputText(Answer):
    """The answer's text; the bytes of `logprobs`, where they are asked for, join to it."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = Field(default_factory=list, max_length=0)
    logprobs: list[OutputLogprob] = Field(default_factory=list)


class OutputMessage(Answer):
    """The answer."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class InputTokensDetails(Answer):
    """`cached_tokens` were not computed again; `image_tokens` stand for pictures. What is cached is not billed."""

    cached_tokens: int
    image_tokens: int
    cache_write_tokens: Literal[0] = 0


class OutputTokensDetails(Answer):
    """All are text: this server has no hidden reasoning."""

    reasoning_tokens: Literal[0] = 0


class ResponseUsage(Answer):
    """Counts of tokens; the token that ends the answer counts."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Incomplete(Answer):
    """Why the answer ends where it does."""

    reason: Literal["max_output_tokens"]


class Failure(Answer):
    """Why there is no answer."""

    code: Literal["server_error", "invalid_prompt"]
    message: str
    param: str | None


class Response(Answer):
    """An answer, and what it was asked to be."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: Failure | None = None
    incomplete_details: Incomplete | None = None
    model: str
    output: list[OutputMessage]
    usage: ResponseUsage | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    temperature: float
    top_p: float
    top_logprobs: int
    text: dict[str, Any] = Field(description="As it was asked for.")
    background: Literal[False] = False
    parallel_tool_calls: Literal[False] = False
    previous_response_id: None = None
    service_tier: Literal["default"] = "default"
    store: Literal[False] = False
    tool_choice: Literal["none"] = "none"
    tools: list[Any] = Field(default_factory=list, max_length=0)
    truncation: Literal["disabled"] = "disabled"


class Event(Answer):
    """One of a stream; they are numbered from 0."""

    type: str
    sequence_number: int


class ResponseEvent(Event):
    """How the response stands: at the beginning, and at the end."""

    type: Literal[
        "response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"
    ]
    response: Response


class ItemEvent(Event):
    """The message begins, or is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int = 0
    item: OutputMessage


class PartEvent(Event):
    """Its text begins, or is whole."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str
    output_index: int = 0
    content_index: int = 0
    part: OutputText


class DeltaEvent(Event):
    """Some more of the text."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    item_id: str
    output_index: int = 0
    content_index: int = 0
    delta: str
    logprobs: list[OutputLogprob]


class TextEvent(Event):
    """The whole text."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    item_id: str
    output_index: int = 0
    content_index: int = 0
    text: str
    logprobs: list[OutputLogprob]
