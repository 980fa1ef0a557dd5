"""`GET /v1/models`: the one model that this server has."""

from __future__ import annotations

from typing import Literal

from sightline.serving.schemas.base import Answer

__all__ = ["Model", "ModelList"]


class Model(Answer):
    """What requests name in `model`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["sightline"] = "sightline"


class ModelList(Answer):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Model]
