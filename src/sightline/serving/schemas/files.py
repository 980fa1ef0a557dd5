"""`/v1/files`: what is told of uploaded pictures. The upload itself is a form, which `UPLOAD` describes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sightline.serving.schemas.base import Answer

__all__ = ["UPLOAD", "FileDeleted", "FileList", "FileObject", "ListQuery", "Purpose"]

Purpose = Literal["vision", "user_data"]

# The body of `POST /v1/files`, for the OpenAPI document.
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A PNG, JPEG, WebP or GIF file, with a name.",
                        },
                        "purpose": {"type": "string", "enum": ["vision", "user_data"]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {
                            "type": "string",
                            "pattern": "^[1-9][0-9]{0,9}$",
                            "description": "How long the file lives; no longer than this server keeps any.",
                        },
                    },
                }
            }
        },
    }
}


class FileObject(Answer):
    """An uploaded picture."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"


class FileList(Answer):
    """Some of the files of a key."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Answer):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class ListQuery(BaseModel):
    """Which files, and in which order."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(None, description="The id of the file after which the list goes on.")
    limit: int = Field(10_000, ge=1, le=10_000)
    order: Literal["asc", "desc"] = Field("desc", description="By age; `desc`, the newest first.")
    purpose: Purpose | None = None
