"""An answer written down as JSON, in whatever thread it is asked for."""

from __future__ import annotations

from fastapi import Response
from pydantic import BaseModel

__all__ = ["json_response"]


def json_response(answer: BaseModel) -> Response:
    """`answer` as a response, just as FastAPI would write it from its event loop."""
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")
