"""Run the command ``hpo``: parse the arguments, run one subcommand, turn errors into exit codes.

0 done, 1 failed, 2 wrong usage or bad input, 130 interrupted (resumable). A mistake of the user's
is printed as one line on standard error, never as a traceback.
"""

from __future__ import annotations

import sys

import typer

from core.errors import UserError
from hpo.cli.datasets.data import app as data_app
from hpo.cli.settings_options import add_command
from hpo.cli.students.best import best
from hpo.cli.students.confirm import confirm
from hpo.cli.students.evaluate import evaluate
from hpo.cli.students.export import export
from hpo.cli.students.forecast import forecast
from hpo.cli.students.profile import profile
from hpo.cli.students.readings_source import reading_options
from hpo.cli.sweeps.clone import clone
from hpo.cli.sweeps.report import report
from hpo.cli.sweeps.resume import resume
from hpo.cli.sweeps.status import status
from hpo.cli.sweeps.study import study
from hpo.cli.sweeps.sweep import registered_names, sweep, sweep_options
from hpo.cli.sweeps.teacher import teacher
from hpo.cli.sweeps.trial import trial

app = typer.Typer(
    help="Search for distilled students of STGCN traffic forecasters, on Ray Tune and Optuna.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
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
app.command()(profile)
app.command()(report)


INTERRUPTED = 130


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = int(app(arguments, prog_name="hpo", standalone_mode=False) or 0)
    except typer.TyperException as error:
        return _wrong_usage(error)
    except UserError as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        code = INTERRUPTED
    # Typer turns an interrupt into this code and prints nothing.
    return _complain("interrupted", code) if code == INTERRUPTED else code


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
