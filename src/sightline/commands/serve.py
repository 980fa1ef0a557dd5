"""`sightline serve`: the model behind the API that OpenAI's clients speak, and the chat page.

It parses and prints, and refuses what would be open to strangers; serving is `sightline.serving`'s.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.commands.naming import name_of
from sightline.commands.options import Device, Dtype, Model, Quantize

if TYPE_CHECKING:
    import socket

    from sightline.serving.settings import Settings

EXAMPLE = "Example: sightline serve runs/finetune --port 8000"
MIB = 2**20
NEEDED = ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "llguidance")
KEY_VARIABLE = "SIGHTLINE_API_KEY"
ANYWHERE = ("0.0.0.0", "::")
DEFAULT = "sightline-tiny"


def serve(
    context: typer.Context,
    served: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", show_default=False, help="As --model; also the folder of a training run."),
    ] = None,
    model: Model = DEFAULT,
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 for all of this machine's.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one, and says which.")] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar=KEY_VARIABLE,
            show_default=False,
            metavar="KEY",
            help="Who has it may ask; repeat it for more. Others on this machine see it in the list of processes, "
            "unless it is set as SIGHTLINE_API_KEY (several with spaces between them).",
        ),
    ] = None,
    allowed_hosts: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Names by which clients may address this server, as behind a proxy."),
    ] = None,
    allow_image_urls: Annotated[
        str | None, typer.Option(metavar="HOST,...", help="Fetch pictures from these hosts; else from nowhere.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let anyone ask who can reach an address beyond this machine.")
    ] = False,
    served_name: Annotated[
        str | None, typer.Option(help="What requests call the model; its own name if not given.")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    compile: Annotated[bool, typer.Option("--compile", help="Faster steps, after a minute or more at first.")] = False,
    max_batch_size: Annotated[int, typer.Option(min=1, help="Answers worked on at once.")] = 32,
    kv_cache_mib: Annotated[
        int | None,
        typer.Option(min=1, help="For keys and values; 512 to 2048, as the longest text takes, if not given."),
    ] = None,
    image_cache_mib: Annotated[int, typer.Option(min=0, help="For the features of pictures seen before.")] = 256,
    queue: Annotated[int, typer.Option(min=0, help="Answers that may wait for a place; one more is refused.")] = 64,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The most of an answer; what the model has room for if not given.")
    ] = (None),
    max_images: Annotated[int, typer.Option(min=0, help="Pictures of one request.")] = 16,
    max_body_mib: Annotated[int, typer.Option(min=1, help="The size of one request, its pictures included.")] = 32,
    shutdown_seconds: Annotated[
        float, typer.Option(min=0, help="How long answers under way may go on when the server is told to stop.")
    ] = 30.0,
) -> None:
    """Serve a model to OpenAI's clients, and a page to talk to it."""
    _need_extra(*(("httpx2",) if allow_image_urls else ()))
    given = context.get_parameter_source("model")
    if served is not None and model != served and given is not None and given.name == "COMMANDLINE":
        raise ValueError(f"serve takes one model, but was given {served!r} and --model {model!r}: leave one out")
    model = served or model
    from sightline.serving.server import bind
    from sightline.serving.settings import Limits, Settings

    limits = replace(
        Limits(),
        queue=queue,
        max_tokens=max_tokens,
        images=max_images,
        body_bytes=max_body_mib * MIB,
        shutdown_seconds=shutdown_seconds,
    )
    settings = Settings(
        model_name=served_name or name_of(model),
        api_keys=_keys(api_key),
        allowed_hosts=(*(() if host in ANYWHERE else (host,)), *_hosts(allowed_hosts)),
        image_hosts=_image_hosts(allow_image_urls),
        limits=limits,
    )
    with closing(bind(host, port)) as listener:  # before a model is loaded
        _refuse_strangers(listener, settings, insecure)
        _serve(
            (model, device, dtype, quantize),
            listener,
            settings,
            max_batch_size=max_batch_size,
            kv_cache_bytes=None if kv_cache_mib is None else kv_cache_mib * MIB,
            image_cache_bytes=image_cache_mib * MIB,
            compile=compile,
            debug=bool(context.find_root().params.get("debug")),
        )


def _serve(
    model: tuple[str, str, str, str | None],
    listener: socket.socket,
    settings: Settings,
    debug: bool = False,
    **engine_options: int | bool | None,
) -> None:
    print(f"loading {model[0]} ...", file=sys.stderr)
    from sightline.interop.load import load
    from sightline.serving.app import create_app
    from sightline.serving.logs import configure_logs
    from sightline.serving.server import serve
    from sightline.serving.state import build_state

    state = build_state(*load(*model), settings, **engine_options)
    configure_logs(messages=debug)
    serve(create_app(state), state, listener, lambda url: _say(url, settings))


def _need_extra(*more: str) -> None:
    if missing := [name for name in (*NEEDED, *more) if find_spec(name) is None]:
        raise ImportError(f"serve needs {', '.join(missing)}: pip install 'sightline[serve]'")


def _keys(given: list[str] | None) -> tuple[str, ...]:
    if not given and KEY_VARIABLE in os.environ:  # as after a secret that was not found
        raise ValueError(f"{KEY_VARIABLE} is set, but there is no key in it: give it one, or unset it")
    given = given or []
    if any(not key.isascii() or not key.isprintable() or not key or " " in key for key in given):
        raise ValueError("an API key is letters, digits and signs without spaces, so that clients can send it")
    return tuple(given)


def _listed(option: str, given: str | None) -> tuple[str, ...]:
    if given is None:
        return ()
    names = tuple(name.strip().lower() for name in given.split(","))
    if not all(names) or any("/" in name for name in names):
        raise ValueError(f"{option} is names with commas between them, as a.example.org,b.org, but not {given!r}")
    return names


def _hosts(given: str | None) -> tuple[str, ...]:
    from sightline.serving.security import is_address, plain_host

    hosts = _listed("--allowed-hosts", given)
    for host in hosts:
        if "*" in host or (":" in host and not is_address(plain_host(host))):
            raise ValueError(f"--allowed-hosts is whole names, each of them, without ports, but not {host!r}")
    return hosts


def _image_hosts(given: str | None) -> tuple[str, ...]:
    from sightline.serving.image_urls import is_name

    hosts = _listed("--allow-image-urls", given)
    if ported := [host for host in hosts if ":" in host]:
        raise ValueError(
            f"--allow-image-urls is names without ports, but not {ported[0]!r}: pictures come from ports 80 and 443"
        )
    if wrong := [host for host in hosts if not is_name(host.removeprefix("*."))]:
        raise ValueError(
            f"--allow-image-urls is names of the internet, as example.org, or *.example.org for all below it, but not "
            f"{wrong[0]!r}"
        )
    return hosts


def _refuse_strangers(listener: socket.socket, settings: Settings, insecure: bool) -> None:
    host = listener.getsockname()[0]
    if settings.api_keys or ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        return
    if not insecure:
        raise ValueError(
            f"at {host} others could ask without a key: set SIGHTLINE_API_KEY, or say --insecure if that is meant"
        )
    print(f"anyone who reaches {host} may ask: there is no API key", file=sys.stderr)


def _say(url: str, settings: Settings) -> None:
    body = {"model": settings.model_name, "messages": [{"role": "user", "content": "What can you see?"}]}
    key = ' -H "Authorization: Bearer $SIGHTLINE_API_KEY"' if settings.api_keys else ""
    print(f"{settings.model_name} answers at {url} (the page) and {url}/v1 (the API); Ctrl+C stops it. To try it:")
    print(f"curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{json.dumps(body)}'")
    sys.stdout.flush()
