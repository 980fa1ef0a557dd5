"""A request that is refused before any route sees it, and why, in a word that is counted."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from sightline.serving.errors import APIError, error_response

__all__ = ["BROWSER_HEADERS", "OnRejected", "Refusal"]

OnRejected = Callable[[str], None]

# Beside the page's own policy: an answer of the API is never a document, and no other site's to show.
BROWSER_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Refusal(Exception):
    """Raised by a check; `reason` is one of few words, since it becomes a label of a metric."""

    def __init__(self, reason: str, text: str, status: int, *, code: str | None = None, retry_after: int | None = None):
        super().__init__(reason)
        self.reason, self.error = reason, APIError(text, status=status, code=code, retry_after=retry_after)

    async def answer(self, on_rejected: OnRejected, scope: Scope, receive: Receive, send: Send) -> None:
        """Count it, and say so to the client."""
        on_rejected(self.reason)
        response = error_response(self.error)
        if self.error.status == 408:
            response.headers["connection"] = "close"  # what is still to come would be read as another request
        await response(scope, receive, send)
