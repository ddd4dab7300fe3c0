"""Run the command ``hpo``: parse the arguments, run one subcommand, turn errors into exit codes.

0 done, 1 failed, 2 wrong usage or bad input, 130 interrupted (resumable). A mistake of the user's
is printed as one line on standard error, never as a traceback; so is an error that nobody foresaw,
with the file that holds its traceback. ``--debug``, with any command, prints that traceback too.
"""

from __future__ import annotations

import sys
import traceback

import typer

from core.errors import UserError, options_named
from hpo.cli.agents.mcp import mcp
from hpo.cli.command_group import HELP, CommandGroup, top_options
from hpo.cli.datasets.data import app as data_app
from hpo.cli.display.left_out import left_out_printed
from hpo.cli.escaped_errors import flushed_output, line_about
from hpo.cli.settings_options import add_command
from hpo.cli.students.best import best
from hpo.cli.students.confirm import confirm
from hpo.cli.students.evaluate import evaluate
from hpo.cli.students.export import export
from hpo.cli.students.forecast import forecast
from hpo.cli.students.profile import profile
from hpo.cli.students.readings_source import reading_options
from hpo.cli.students.serve import serve
from hpo.cli.sweeps.archive import archive, unarchive
from hpo.cli.sweeps.clone import clone
from hpo.cli.sweeps.delete import delete
from hpo.cli.sweeps.report import report
from hpo.cli.sweeps.reproduce import names_of_reproductions, reproduce, reproduction_options
from hpo.cli.sweeps.resume import resume
from hpo.cli.sweeps.status import status
from hpo.cli.sweeps.study import study
from hpo.cli.sweeps.sweep import registered_names, sweep, sweep_options
from hpo.cli.sweeps.teacher import teacher
from hpo.cli.sweeps.trial import trial

app = typer.Typer(
    cls=CommandGroup,
    context_settings=HELP,
    callback=top_options,
    epilog="With --debug, any command shows the traceback of an error that it did not foresee.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data", cls=CommandGroup)
app.command()(teacher)
add_command(app, sweep, sweep_options, registered_names)
app.command()(resume)
app.command()(clone)
app.command()(status)
app.command()(study)
app.command()(trial)
app.command()(best)
app.command()(confirm)
app.command()(export)
add_command(app, evaluate, reading_options)
add_command(app, forecast, reading_options)
app.command()(serve)
app.command()(profile)
app.command()(report)
add_command(app, reproduce, reproduction_options, names_of_reproductions)
app.command()(archive)
app.command()(unarchive)
app.command()(delete)
app.command()(mcp)


FAILED = 1
INTERRUPTED = 130
DEBUG = "--debug"


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    given = [argument for argument in arguments if argument != DEBUG]
    with options_named(), left_out_printed() as left_out:
        code = _run(given, debug=DEBUG in arguments)
    unwritten = flushed_output()
    if unwritten is not None and not code:
        return _complain(unwritten, FAILED)
    return code or (FAILED if left_out.lines else 0)


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = int(app(arguments, prog_name="hpo", standalone_mode=False) or 0)
    except typer.TyperException as error:
        return _wrong_usage(error)
    except UserError as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nobody is to see a raw traceback
        return _escaped(error, debug=debug)
    # Typer turns an interrupt into this code and prints nothing.
    return _complain("interrupted", code) if code == INTERRUPTED else code


def _escaped(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    return _complain(line_about(error), FAILED)


def _wrong_usage(error: typer.TyperException) -> int:
    text, context = error.format_message(), getattr(error, "ctx", None)
    if text.startswith("Usage:"):  # a group of commands without one: its help
        print(text, file=sys.stderr)
        return 2
    where = f" (see `{context.command_path} --help`)" if context else ""
    return _complain(f"{' '.join(text.split())}{where}", 2)


def _complain(text: str, code: int) -> int:
    print(f"hpo: {text}", file=sys.stderr)
    return code
