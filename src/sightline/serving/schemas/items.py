"""The messages that `input` is made of in `/v1/responses` and `/v1/decisions`, and the parts of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from sightline.serving.schemas.base import Body, Unsupported, by

__all__ = [
    "BY_ROLE",
    "AssistantItem",
    "InputImage",
    "InputText",
    "Item",
    "ItemFields",
    "PastText",
    "SystemItem",
    "UserItem",
    "listed",
]


class InputText(Body):
    """Text. Whatever is typed stays text: no placeholder and no control token comes of it."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Unsupported = None


class InputImage(Body):
    """A picture: a data URI, an http(s) URL of a host that this server may fetch from, or what was uploaded."""

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: str | None = Field(None, description="Of a picture in `/v1/files`, instead of `image_url`.")
    detail: Literal["auto", "low", "high", "original"] | None = Field(
        None, description="Accepted, and without effect: the model sees every picture at its own size."
    )
    prompt_cache_breakpoint: Unsupported = None


class PastText(Body):
    """A text of an earlier answer, as the answer had it."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = Field(None, max_length=0)
    logprobs: list[dict[str, Any]] | None = Field(None, description="Accepted, and without effect.")


def listed(kind: str, plain: Any) -> BeforeValidator:
    """Read a string as a list of one part of the type `kind`; `plain` is the list's own type, for the schema."""

    def read(content: Any) -> Any:
        return [{"type": kind, "text": content}] if isinstance(content, str) else content

    return BeforeValidator(read, json_schema_input_type=str | plain)


_Text = Annotated[Annotated[InputText, Tag("<input_text>")], by("type", "input_text")]
_Part = Annotated[
    Annotated[InputText, Tag("<input_text>")] | Annotated[InputImage, Tag("<input_image>")],
    by("type", "input_text", "input_image"),
]
_Past = Annotated[Annotated[PastText, Tag("<output_text>")], by("type", "output_text")]
_Texts = Annotated[list[_Text], Field(min_length=1)]
_Parts = Annotated[list[_Part], Field(min_length=1)]
_Pasts = Annotated[list[_Past], Field(min_length=1)]


class ItemFields(Body):
    """What all items have; an answer's can be sent back as they came."""

    type: Literal["message"] | None = None
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class SystemItem(ItemFields):
    """What holds for the whole conversation; `developer` is another name for the role."""

    role: Literal["system", "developer"]
    content: Annotated[_Texts, listed("input_text", _Texts)]


class UserItem(ItemFields):
    """What a person says and shows."""

    role: Literal["user"]
    content: Annotated[_Parts, listed("input_text", _Parts)]


class AssistantItem(ItemFields):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Annotated[_Pasts, listed("output_text", _Pasts)]
    phase: Literal["final_answer"] | None = None


def _kind(item: Any) -> str | None:
    if not isinstance(item, dict):
        role = getattr(item, "role", None)
    elif item.get("type", "message") in ("message", None):
        role = item.get("role")
    else:
        return None
    return f"<{role}>" if role in ("system", "developer", "user", "assistant") else None


# Of the many kinds of items that the API has, those of a conversation without tools.
BY_ROLE = Discriminator(
    _kind,
    custom_error_type="kind",
    custom_error_message="it has to be a message whose role is system, developer, user or assistant",
)
Item = Annotated[
    Annotated[SystemItem, Tag("<system>")]
    | Annotated[SystemItem, Tag("<developer>")]
    | Annotated[UserItem, Tag("<user>")]
    | Annotated[AssistantItem, Tag("<assistant>")],
    BY_ROLE,
]
