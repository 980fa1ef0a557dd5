"""`POST /v1/chat/completions`: what is asked, what is answered, and the chunks of a stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, Tag

from sightline.serving.schemas.base import Answer, Body, Empty, MaxTokens, Sampling, Unsupported, by
from sightline.serving.schemas.usage import Usage

__all__ = [
    "AssistantMessage",
    "ChatChoice",
    "ChatChunk",
    "ChatCompletion",
    "ChatRequest",
    "ChoiceLogprobs",
    "ChunkChoice",
    "Delta",
    "FilePart",
    "ImagePart",
    "JsonSchemaFormat",
    "LogprobToken",
    "Message",
    "ResponseFormat",
    "TextPart",
    "TopLogprob",
    "UserMessage",
]


class TextPart(Body):
    """Text. Whatever is typed stays text: no placeholder and no control token comes of it."""

    type: Literal["text"]
    text: str


class ImageURL(Body):
    """A picture as a data URI, or as an http(s) URL of a host that this server may fetch from."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = Field(
        None, description="Accepted, and without effect: the model sees every picture at its own size."
    )


class ImagePart(Body):
    """A picture in place."""

    type: Literal["image_url"]
    image_url: ImageURL


class FileRef(Body):
    """A picture that was uploaded to `/v1/files`."""

    file_id: str
    file_data: Unsupported = None
    filename: Unsupported = None


class FilePart(Body):
    """An uploaded picture."""

    type: Literal["file"]
    file: FileRef


def _listed(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Text = Annotated[Annotated[TextPart, Tag("<text>")], by("type", "text")]
Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[ImagePart, Tag("<image_url>")] | Annotated[FilePart, Tag("<file>")],
    by("type", "text", "image_url", "file"),
]
Texts = Annotated[
    list[TextPart],
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=str | Annotated[list[TextPart], Field(min_length=1)]),
]
Parts = Annotated[
    list[Part],
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=str | Annotated[list[Part], Field(min_length=1)]),
]


class SystemMessage(Body):
    """What holds for the whole conversation; `developer` is another name for the role."""

    role: Literal["system", "developer"]
    content: Texts
    name: Unsupported = None


class UserMessage(Body):
    """What a person says and shows."""

    role: Literal["user"]
    content: Parts
    name: Unsupported = None


class PastAnswer(Body):
    """An earlier answer, as it may stand in the history."""

    role: Literal["assistant"]
    content: Texts
    name: Unsupported = None
    refusal: Unsupported = None
    parsed: Any = Field(None, description="What the official client made of `content`: without effect.")
    audio: Unsupported = None
    annotations: Empty | None = None
    function_call: Unsupported = None
    tool_calls: Empty | None = None


Message = Annotated[
    Annotated[SystemMessage, Tag("<system>")]
    | Annotated[SystemMessage, Tag("<developer>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[PastAnswer, Tag("<assistant>")],
    by("role", "system", "developer", "user", "assistant"),
]


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Some JSON object."""

    type: Literal["json_object"]


class JsonSchema(Body):
    """A JSON schema, which the answer keeps to whether `strict` says so or not."""

    model_config = ConfigDict(populate_by_name=False)

    name: str = Field(max_length=64, min_length=1)
    json_schema: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(Body):
    """JSON of a given schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[JsonObjectFormat, Tag("<json_object>")]
    | Annotated[JsonSchemaFormat, Tag("<json_schema>")],
    by("type", "text", "json_object", "json_schema"),
]


class ChatRequest(Sampling):
    """A conversation to be answered. Its last message is the user's (or the system's)."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: MaxTokens | None = None
    max_tokens: MaxTokens | None = Field(None, description="The older name of `max_completion_tokens`.")
    logprobs: bool | None = Field(None, description="Tell how probable each token of the answer was.")
    top_logprobs: Annotated[int, Field(ge=0)] | None = Field(
        None, description="With `logprobs`: tell it of this many of the likeliest tokens at each place, too."
    )
    response_format: ResponseFormat | None = None
    regex: str | None = Field(None, min_length=1, description="The answer matches this regular expression.")
    choice: list[str] | None = Field(None, min_length=1, description="The answer is one of these texts.")
    modalities: list[Literal["text"]] | None = Field(None, min_length=1)
    audio: Unsupported = None
    function_call: Unsupported = None
    functions: Unsupported = None
    moderation: Unsupported = None
    parallel_tool_calls: bool | None = Field(None, description="There are no tools, so it changes nothing.")
    prediction: Unsupported = None
    prompt_cache_options: Unsupported = None
    reasoning_effort: Unsupported = None
    tool_choice: Literal["none"] | None = None
    tools: Empty | None = None
    verbosity: Unsupported = None
    web_search_options: Unsupported = None


class TopLogprob(Answer):
    """One of the likeliest tokens at a place."""

    token: str
    logprob: float
    bytes: list[int] | None


class LogprobToken(TopLogprob):
    """A token of the answer."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Answer):
    """The answer's tokens; their bytes join to its text, but that a stop text may begin within the last one."""

    content: list[LogprobToken]
    refusal: None


class AssistantMessage(Answer):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Answer):
    """One of the `n` answers."""

    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(Answer):
    """The answers to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str


class Delta(Answer):
    """What comes to a message: first its role, then text."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None


class ChunkChoice(Answer):
    """What comes to one of the `n` answers."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class ChatChunk(Answer):
    """One event of a stream. `usage` is there with `stream_options.include_usage`, and null but in the last one."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
