"""What verbs print with: tables or JSON on stdout; progress, errors and hints on stderr.

Colour and progress bars appear on a terminal only (rich sees to it). rich is imported when
something is printed, so that `tinykit --help` starts quickly.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinykit.errors import TinykitError

if TYPE_CHECKING:
    from rich.console import Console

    from tinykit.report import Report

Progress = Callable[[int, int], None]  # how many are done, of how many


class _Options:
    verbose = False


def set_verbose(value: bool) -> bool:
    """Callback of -v. It can stand before or after the verb, hence state and not an argument."""
    _Options.verbose = _Options.verbose or value
    return value


def reset() -> None:
    """Forget -v of an earlier command in this process (tests run several)."""
    _Options.verbose = False


def stdout() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


def stderr() -> Console:
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A line for a person, on stdout, taken literally."""
    stdout().print(text, markup=False)


def note(text: str) -> None:
    """A line for a person who said -v, on stderr."""
    if _Options.verbose:
        stderr().print(text, markup=False, style="dim")


def show(report: Report, as_json: bool) -> None:
    """The report as tables, or as one JSON document."""
    if as_json:
        print(json.dumps(report.data, indent=2), flush=True)
    else:
        report.print(stdout())
        sys.stdout.flush()


@contextmanager
def progress(what: str, as_json: bool = False) -> Iterator[Progress]:
    """A progress callback for whatever may take longer than two seconds; silent without a tty."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = stderr()
    quiet = as_json or not console.is_terminal
    with Bar(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


@contextmanager
def status(what: str, as_json: bool = False) -> Iterator[None]:
    """A spinner beside `what` while something without steps goes on; silent without a tty."""
    console = stderr()
    if as_json or not console.is_terminal:
        note(what)
        yield
        return
    with console.status(what):
        yield


def fail(message: str, hint: str = "") -> None:
    """`error: message` and the way out, on stderr."""
    console = stderr()
    console.print("[bold red]error:[/] ", end="")
    console.print(message, markup=False)
    if hint:
        console.print("[bold]hint:[/]  ", end="")
        console.print(hint, markup=False)


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Python's warnings as one line each: what the library wants a person to know."""

    def show_warning(message: Warning | str, *_: object, **__: object) -> None:
        console = stderr()
        console.print("[bold yellow]warning:[/] ", end="")
        console.print(str(message), markup=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("once", category=UserWarning, module="tinykit")
        warnings.showwarning = show_warning
        yield


def report_failure(error: BaseException) -> int:
    """Print what went wrong; the exit code it leaves with."""
    if isinstance(error, KeyboardInterrupt):
        print(file=sys.stderr)
        return 130
    if isinstance(error, TinykitError):
        fail(error.message, error.hint)
        if _Options.verbose:
            traceback.print_exception(error, file=sys.stderr)
        return error.exit_code
    if _Options.verbose:
        traceback.print_exception(error, file=sys.stderr)
        fail(f"unexpected {type(error).__name__}")
    else:
        first = (str(error).splitlines() or [""])[0]
        fail(f"unexpected {type(error).__name__}: {first}", "run with -v for the traceback")
    return 1
