"""Errors as OpenAI's API words them: one JSON shape, the right status, the field that is wrong.

Nothing that a library or the system says gets into them: no paths, class names or addresses.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

__all__ = ["DEFAULT_ERROR", "ERRORS", "APIError", "ErrorBody", "error_response", "install_error_handlers", "short_name"]

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
# In JSON's words, and without the class that pydantic would name.
_WANTED = {
    "model_type": "it has to be an object",
    "model_attributes_type": "it has to be an object",
    "dict_type": "it has to be an object",
    "list_type": "it has to be an array",
    "string_type": "it has to be a string",
    "bool_type": "it has to be true or false",
    "int_type": "it has to be a whole number",
    "float_type": "it has to be a number",
    "too_short": "it has too few entries",
    "literal_error": "it has to be {expected}",
    "less_than_equal": "it is at most {le}",
    "less_than": "it has to be less than {lt}",
    "greater_than_equal": "it is at least {ge}",
    "greater_than": "it has to be greater than {gt}",
}
_TEXTS = ("content", "input", "instructions", "prompt", "stop")  # fields where a string stands for a list of one
_TRY_AGAIN = (408, 429, 503)
_NAME_CHARS = 200


class ErrorDetail(BaseModel):
    message: str
    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "rate_limit_error",
        "server_error",
    ]
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """What every error answers."""

    error: ErrorDetail


# For a route's `responses`: what the OpenAPI document says of its errors.
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request is wrong; `param` names the field."},
    401: {"model": ErrorBody, "description": "The API key is missing or wrong."},
    403: {"model": ErrorBody, "description": "The request comes from another site, or for another host."},
    404: {"model": ErrorBody, "description": "There is no such model, file or path."},
    408: {"model": ErrorBody, "description": "The request did not arrive in time."},
    413: {"model": ErrorBody, "description": "The request or a picture is larger than this server takes."},
    415: {"model": ErrorBody, "description": "The body is of another content type."},
    429: {"model": ErrorBody, "description": "Too much is under way; `Retry-After` says when to come again."},
    500: {"model": ErrorBody, "description": "The server failed."},
    503: {"model": ErrorBody, "description": "The server is stopping, or its engine failed."},
}

DEFAULT_ERROR: dict[str, Any] = {"model": ErrorBody, "description": "Any other error, in the same shape."}


class APIError(Exception):
    """A request that is refused, or failed.

    Args:
        message: one line: what is wrong, and what to do.
        status: the HTTP status.
        param: the field that is wrong, as `messages[0].content[1].image_url`.
        code: a word for programs, as `model_not_found`.
        retry_after: seconds until it is worth trying again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.message, self.status, self.param, self.code, self.retry_after = message, status, param, code, retry_after

    def body(self) -> dict[str, Any]:
        """The JSON that says so."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Whether and when it is worth trying again, as OpenAI's clients read it."""
        found = {"x-should-retry": "true" if self.status in _TRY_AGAIN else "false"}
        if self.retry_after is not None:
            found["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found


def error_response(error: APIError) -> JSONResponse:
    """`error` as a response."""
    return JSONResponse(error.body(), error.status, error.headers())


def install_error_handlers(app: FastAPI) -> None:
    """Let every error of `app` leave it in this shape."""
    app.add_exception_handler(APIError, _on_api_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, APIError)
    return error_response(error)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return error_response(invalid(error.errors()[0]))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = {
        404: f"there is nothing at {request.method} of this path: /openapi.json lists what there is",
        405: f"this path takes no {request.method}: /openapi.json lists what it takes",
    }.get(error.status_code, "the request cannot be read")
    found = error_response(APIError(message, status=error.status_code))
    for name, value in (error.headers or {}).items():
        # Who answers GET answers HEAD (`head.py`).
        found.headers[name] = value.replace("GET", "GET, HEAD") if name.lower() == "allow" else value
    return found


def invalid(error: dict[str, Any]) -> APIError:
    """One of pydantic's errors: which field, and what it should be."""
    where, *path = error["loc"]
    param = short_name(_dotted(path if where in ("body", "query", "path", "header") else error["loc"])) or None
    if error["type"] == "extra_forbidden":
        return APIError(f"{param} is not a field that this server knows", param=param, code="unknown_parameter")
    if error["type"] == "missing":
        name = param or "a body"
        return APIError(f"{name} is missing", param=param, code="missing_required_parameter")
    wanted = _WANTED.get(error["type"])
    if error["type"] == "list_type" and path and path[-1] in _TEXTS:
        wanted = "it has to be a string or an array"
    text = wanted.format(**error.get("ctx", {})) if wanted else error["msg"].removeprefix("Value error, ")
    return APIError(f"{param or 'the body'}: {text}", param=param, code="invalid_value")


def short_name(name: str) -> str:
    """A field's name on one line: a client may call one whatever it likes."""
    name = " ".join(name.split())
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 3]}..."


def _dotted(path: list[Any] | tuple[Any, ...]) -> str:
    found = ""
    for part in path:
        if str(part).startswith("<") and part is not path[-1]:
            continue  # which member of a union it is (`schemas.base.by`), and no field
        found += f"[{part}]" if isinstance(part, int) else f"{'.' if found else ''}{part}"
    return found
