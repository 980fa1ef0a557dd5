"""What a server is told at its start: its name, who may ask, and how much anyone may ask for. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["KIB", "MIB", "Limits", "Settings"]

KIB, MIB = 2**10, 2**20


@dataclass(frozen=True)
class Limits:
    """How much one request may ask for. Each is checked before anything is decoded, compiled or computed.

    Args:
        connections: open at once; one more is told to come again.
        header_bytes, body_bytes: of an HTTP request.
        json_depth: how deep its JSON may nest.
        receive_seconds: how long a request may take to arrive.
        images, image_bytes, pixels: pictures of a request; the encoded bytes and the pixels of each.
        messages, prompt_chars: turns of a conversation, and characters of text in all of them.
        max_tokens: of an answer, and what it may have where nothing is asked for; None: what the model has room for.
        n: answers to one request.
        stop, stop_chars: stop texts, and the characters of each.
        choices: given answers to be graded or chosen from.
        queue: requests that wait for a place in the batch; one more is refused.
        grammar_bytes, grammar_cache: the text of a schema or regular expression; how many are kept compiled.
        files, file_bytes, files_bytes, file_seconds: uploads of one key, the bytes of one and of all, and their life.
        fetches, url_seconds, url_redirects: pictures that are fetched at once, and of each its time and its redirects.
        explain_queue: explanations that wait for the one under way.
        shutdown_seconds: how long answers under way may go on once the server is told to stop.
    """

    connections: int = 512
    header_bytes: int = 16 * KIB
    body_bytes: int = 32 * MIB
    json_depth: int = 64
    receive_seconds: float = 30.0
    images: int = 16
    image_bytes: int = 10 * MIB
    pixels: int = 25_000_000
    messages: int = 256
    prompt_chars: int = 200_000
    max_tokens: int | None = None
    n: int = 8
    stop: int = 8
    stop_chars: int = 256
    logit_bias: int = 300
    top_logprobs: int = 20
    choices: int = 64
    queue: int = 64
    grammar_bytes: int = 64 * KIB
    grammar_cache: int = 64
    files: int = 100
    file_bytes: int = 10 * MIB
    files_bytes: int = 64 * MIB
    file_seconds: float = 3600.0
    fetches: int = 32
    url_seconds: float = 10.0
    url_redirects: int = 3
    explain_queue: int = 4
    shutdown_seconds: float = 30.0


@dataclass(frozen=True)
class Settings:
    """How a server is set up.

    Args:
        model_name: what requests call the model.
        api_keys: those that may ask; none: anyone may.
        allowed_hosts: names that a request's Host may have, beside loopback's and the bound address.
        image_hosts: hosts that pictures may be fetched from (`*.example.org` for all below one); none: from nowhere.
    """

    model_name: str
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    image_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
