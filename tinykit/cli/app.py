"""The command line itself: verbs in the order of the workflow, and the one way out for errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from tinykit.cli import output
from tinykit.cli.options import Verbose
from tinykit.cli.verbs import VERBS

app = typer.Typer(
    name="tinykit",
    help="Firmware that infers and learns on a microcontroller, inside a known memory budget.",
    epilog="Every verb reads ./tinykit.toml (or that of --project DIR); flags override it. "
    "Exit codes: 0 done, 1 failed or does not fit, 2 wrong usage.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from tinykit import __version__

        print(f"tinykit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    verbose: Verbose = False,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    pass


for _name, _function in VERBS.items():
    app.command(_name, no_args_is_help=False)(_function)


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line (without the program's name); the exit code."""
    output.reset()
    try:
        with output.shown_warnings():
            code = app(
                args=list(sys.argv[1:] if arguments is None else arguments),
                prog_name="tinykit",
                standalone_mode=False,
            )
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except (Exception, KeyboardInterrupt) as error:
        return _usage(error) if hasattr(error, "format_message") else output.report_failure(error)


def _usage(error: BaseException) -> int:
    """What typer says about a wrong command line, in our words."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help() if context else "")
        return 2
    command = context.command_path if context else "tinykit"
    output.fail(str(error.format_message()), f"`{command} --help` lists what it takes")  # type: ignore[attr-defined]
    return int(getattr(error, "exit_code", 2))


def main() -> None:
    """Entry point of the `tinykit` script."""
    sys.exit(run())
