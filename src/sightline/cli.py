"""The command line: `sightline COMMAND`. Each command is a small module in `commands/`.

This file knows the commands' names and how an error leaves the program: one line, exit code 1 (it failed) or 2
(it was called wrongly), a traceback only with `--debug`. Who stops it with Ctrl-C gets 130, as from any program of a
shell's; only `train` counts a step that it has finished and saved as done.
"""

from __future__ import annotations

import io
import os
import sys
import warnings

import typer

from sightline.commands import ask, bench, chat, convert, data, evaluate, explain, info, label, serve, train

app = typer.Typer(
    name="sightline",
    help="Train, run and serve vision-language models on the machine you have.",
    epilog='Example: sightline ask photo.jpg "What is this?"',
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _module in (ask, chat, serve, train, label, explain, bench, info):
    _name = _module.__name__.rpartition(".")[2]
    app.command(_name, epilog=_module.EXAMPLE)(getattr(_module, _name))
app.add_typer(convert.app, name="convert", epilog=convert.EXAMPLE)
app.add_typer(data.app, name="data", epilog=data.EXAMPLE)
app.command("eval", epilog=evaluate.EXAMPLE)(evaluate.evaluate)  # as a module's name it would hide the builtin


@app.callback()
def _options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Options of every command; `main` reads `--debug` itself, since errors end there."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    # An image that Pillow has doubts about is judged, and refused in one line, by sightline.images.
    warnings.filterwarnings("ignore", module="PIL")
    # Anywhere on the line, not only before the command.
    given = ["--debug"] * debug + [argument for argument in given if argument != "--debug"]
    try:
        code = app(given, prog_name="sightline", standalone_mode=False)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug and not _is_usage(error):
            raise
        return _say(error)
    return code if isinstance(code, int) else 0


def _is_usage(error: Exception) -> bool:
    return hasattr(error, "format_message")


def _say(error: Exception) -> int:
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, typer.Abort):
        return 130
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help, which has lines
        print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
        return 2
    if _is_usage(error):
        text, code = error.format_message(), 2  # type: ignore[attr-defined]
    else:
        called_wrongly = isinstance(error, (ValueError, FileNotFoundError, FileExistsError, ImportError))
        text, code = str(error) or type(error).__name__, 2 if called_wrongly else 1
    line = " ".join(text.split())
    if code == 1:
        line += " (--debug shows the traceback)"
    print(f"sightline: {line}", file=sys.stderr)
    return code


def run() -> None:
    """The entry point that installs as `sightline`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name that is no Unicode, or a letter that the terminal lacks, is written as an escape.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads on, and what is still in the buffer must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    run()
