"""From the items of `input`, as `/v1/responses` and `/v1/decisions` take them, to turns that `open_turns` opens."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sightline.serving.errors import APIError
from sightline.serving.messages import Picture, Turn
from sightline.serving.schemas.decisions import EvidenceItem, InputJson
from sightline.serving.schemas.items import AssistantItem, InputImage, InputText, Item, PastText, SystemItem

__all__ = ["parts_of", "turns_of"]

AnyPart = InputText | InputImage | InputJson | PastText


def turns_of(items: Sequence[Item | EvidenceItem], param: str = "input") -> list[Turn]:
    """The turns of a conversation whose field is `param`.

    Raises:
        APIError: a picture is given twice, or not at all.
    """
    return [_turn(item, f"{param}[{index}].content") for index, item in enumerate(items)]


def _turn(item: Item | EvidenceItem, param: str) -> Turn:
    if isinstance(item, SystemItem):
        return Turn("system", parts_of(item.content, param))
    return Turn("assistant" if isinstance(item, AssistantItem) else "user", parts_of(item.content, param))


def parts_of(parts: Sequence[AnyPart], param: str) -> tuple[str | Picture, ...]:
    """A message's texts and pictures; `param` is the field that they are in. Raises as `turns_of`."""
    return tuple(_part(part, f"{param}[{index}]") for index, part in enumerate(parts))


def _part(part: AnyPart, param: str) -> str | Picture:
    if isinstance(part, InputImage):
        return _picture(part, param)
    if isinstance(part, InputJson):
        return json.dumps(part.data, ensure_ascii=False, allow_nan=False)
    return part.text


def _picture(part: InputImage, param: str) -> Picture:
    if part.image_url is not None and part.file_id is not None:
        raise APIError(f"{param} has both an image_url and a file_id: give one", param=f"{param}.file_id")
    if part.file_id is not None:
        return Picture(part.file_id, f"{param}.file_id", is_file=True)
    if part.image_url is None:
        message = f"{param} has neither an image_url nor a file_id"
        raise APIError(message, param=f"{param}.image_url", code="missing_required_parameter")
    return Picture(part.image_url, f"{param}.image_url")
