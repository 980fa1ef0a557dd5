"""`/v1/files`: uploading a picture once, to ask about it by its id.

The form is read here; where its files are kept and how pictures are decoded, others know.
"""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from sightline.serving.errors import ERRORS, APIError, short_name
from sightline.serving.files import File
from sightline.serving.images import check_picture
from sightline.serving.schemas.files import UPLOAD, FileDeleted, FileList, FileObject, ListQuery
from sightline.serving.security import Identity, identity
from sightline.serving.settings import KIB
from sightline.serving.state import State

__all__ = ["router"]

Who = Annotated[Identity, Depends(identity)]

_FORM_BYTES = 16 * KIB  # of a form, beside its file
_FIELDS = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")
_PURPOSES = ("vision", "user_data")


class _FormParser(MultiPartParser):
    """Starlette's, which would write a large form to a temporary file, and take one that is cut short."""

    spool_max_size = 2**62  # bytes
    is_whole = False

    def on_end(self) -> None:
        self.is_whole = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self.is_whole:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("it is cut short")
        return form


def router(state: State) -> APIRouter:
    """The routes over `state.files`."""
    routes = APIRouter(tags=["files"])
    missing: dict[int | str, dict[str, Any]] = {404: ERRORS[404]}

    @routes.post("/v1/files", responses={413: ERRORS[413], 415: ERRORS[415], 429: ERRORS[429]}, openapi_extra=UPLOAD)
    async def create_file(request: Request, who: Who) -> FileObject:
        """Upload a picture. It can be asked about with a content part `{"type": "file", "file": {"file_id": ...}}`."""
        return _describe(await _upload(request, state, who))

    @routes.get("/v1/files")
    async def list_files(who: Who, query: Annotated[ListQuery, Query()]) -> FileList:
        """The files of the key that asks."""
        return _page(state.files.list(who), query)

    @routes.get("/v1/files/{file_id}", responses=missing)
    async def retrieve_file(file_id: str, who: Who) -> FileObject:
        """What is known of a file."""
        return _describe(state.files.get(who, file_id))

    @routes.get(
        "/v1/files/{file_id}/content",
        responses={**missing, 200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}},
        response_class=Response,
    )
    async def retrieve_file_content(file_id: str, who: Who) -> Response:
        """The bytes of a file, as they came."""
        data = state.files.get(who, file_id).data
        # Never of a type that a browser would show: a picture can be a page as well.
        return Response(data, media_type="application/octet-stream", headers={"content-disposition": "attachment"})

    @routes.delete("/v1/files/{file_id}", responses=missing)
    async def delete_file(file_id: str, who: Who) -> FileDeleted:
        """Forget a file now."""
        state.files.delete(who, file_id)
        return FileDeleted(id=file_id)

    return routes


async def _upload(request: Request, state: State, who: Identity) -> File:
    # What cannot be kept is not taken apart: that is done while all others wait.
    state.files.check(who, max(0, len(await request.body()) - _FORM_BYTES))
    form = await _read_form(request)
    try:
        return await _keep(form, state, who)
    finally:
        await form.close()


async def _keep(form: FormData, state: State, who: Identity) -> File:
    _check_names(form)
    purpose = _one_of(form, "purpose", _PURPOSES)
    seconds = _lifetime(form, state.settings.limits.file_seconds)
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise APIError("file is missing: send it with a filename", param="file", code="missing_required_parameter")
    name = file.filename or ""
    if not 0 < len(name) <= 255 or not _is_text(name):
        raise APIError("the name of the file has to be of 1 to 255 characters", param="file", code="invalid_value")
    state.files.check(who, file.size or 0)
    with state.answering.place():
        data = await file.read()
        await state.answering.run(functools.partial(check_picture, data, state, "file"))
    return state.files.put(who, name, data, purpose, seconds)


async def _read_form(request: Request) -> FormData:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise APIError("the body has to be a form: send it with Content-Type: multipart/form-data", status=415)
    try:
        # Of each, one more than there may be: the error can name it then.
        parser = _FormParser(request.headers, request.stream(), max_files=2, max_fields=8, max_part_size=1024)
        return await parser.parse()
    except (MultiPartException, ValueError):
        raise APIError("the body is no form that can be read, or has more fields than there are") from None


def _check_names(form: FormData) -> None:
    for name in form:
        if name not in _FIELDS:
            told = short_name(name) if _is_text(name) else None
            text = f"{told or 'one of the names'} is not a field that this server knows"
            raise APIError(text, param=told, code="unknown_parameter")
        if len(form.getlist(name)) > 1:
            raise APIError(f"{name} is there twice", param=name, code="invalid_value")


def _one_of(form: FormData, name: str, known: tuple[str, ...]) -> str:
    value = form.get(name)
    if value is None:
        raise APIError(f"{name} is missing", param=name, code="missing_required_parameter")
    if value not in known:
        raise APIError(f"{name} has to be {' or '.join(known)}", param=name, code="invalid_value")
    assert isinstance(value, str)
    return value


def _lifetime(form: FormData, most: float) -> float | None:
    if not any(name.startswith("expires_after") for name in form):
        return None
    _one_of(form, "expires_after[anchor]", ("created_at",))
    name = "expires_after[seconds]"
    value = form.get(name, "")
    if not isinstance(value, str) or not re.fullmatch("[1-9][0-9]{0,9}", value) or int(value) > most:
        text = f"{name} has to be a number from 1 to {int(most)}, as long as this server keeps a file"
        raise APIError(text, param=name, code="invalid_value")
    return float(value)


def _page(files: list[File], query: ListQuery) -> FileList:
    if query.order == "desc":
        files = files[::-1]
    ids = [file.id for file in files]
    if query.after is not None and query.after not in ids:
        raise APIError("after is the id of no file", param="after", code="invalid_value")
    rest = files if query.after is None else files[ids.index(query.after) + 1 :]
    chosen = [file for file in rest if query.purpose in (None, file.purpose)]
    page = chosen[: query.limit]
    return FileList(
        data=[_describe(file) for file in page],
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(chosen) > len(page),
    )


def _describe(file: File) -> FileObject:
    fields: dict[str, Any] = {"id": file.id, "filename": file.name, "purpose": file.purpose}
    return FileObject(bytes=len(file.data), created_at=file.created_at, expires_at=int(file.expires_at), **fields)


def _is_text(name: str) -> bool:
    """Whether it can be told back: a form may say that it is in an encoding that has lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
