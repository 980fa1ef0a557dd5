"""`GET /v1/models`: what requests may name in `model`."""

from __future__ import annotations

from fastapi import APIRouter

from sightline.serving.errors import ERRORS
from sightline.serving.schemas.models import Model, ModelList
from sightline.serving.state import State
from sightline.serving.usage import check_model

__all__ = ["router"]


def router(state: State) -> APIRouter:
    """`/v1/models`, and each of them."""
    found = APIRouter(tags=["Models"])
    model = Model(id=state.settings.model_name, created=state.created)

    @found.get("/v1/models", summary="The models that are served")
    async def list_models() -> ModelList:
        return ModelList(data=[model])

    # A name may be a hub id, with a slash in it.
    @found.get("/v1/models/{model_name:path}", summary="One of them", responses={404: ERRORS[404]})
    async def retrieve_model(model_name: str) -> Model:
        check_model(model_name, state.settings)
        return model

    return found
