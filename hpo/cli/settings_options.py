"""Make command line options from the fields of a settings dataclass.

A field's default and type become the option's; its metadata say the rest: ``help`` (may hold names
of lists such as ``{samplers}``, filled in when the help is shown), ``metavar``, ``show_default``,
``flag`` where the option is not named as the field, and ``read``, a function of the option's text
for types that Typer cannot read. Imports no settings itself: a command loads them when it is used,
so that ``hpo --help`` stays quick.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from functools import cached_property
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from hpo.cli.options import integer, number

Settings = dict[str, Any]
"""Field names and what the command line gave for them, texts where the field has a ``read``."""

Built = TypeVar("Built")


def options_of(
    settings: type[Any], only: Sequence[str] | None = None, *, unset: bool = False
) -> list[inspect.Parameter]:
    """Return an option for each field of a dataclass.

    Args:
        settings: the dataclass.
        only: names of the fields that are wanted; by default all.
        unset: whether an option that is not given is None instead of the field's default.
    """
    hints = get_type_hints(settings)
    return [
        _option(field, hints[field.name] | None if unset else hints[field.name], unset)
        for field in fields(settings)
        if only is None or field.name in only
    ]


def build(settings: type[Built], given: Settings, **own: Any) -> Built:
    """Return the settings that the command line gave.

    Args:
        settings: the dataclass.
        given: values of the options that were made of its fields.
        own: values of fields that the command has an option of its own for.

    Raises:
        UserError: a text that its ``read`` refuses, or settings that the dataclass refuses.
    """
    values = dict(given)
    for field in fields(settings):  # type: ignore[arg-type]
        if "read" in field.metadata and values.get(field.name) is not None:
            values[field.name] = field.metadata["read"](values[field.name])
    return settings(**values, **own)


def add_command(
    app: typer.Typer,
    function: Callable[..., None],
    options: Callable[[], list[inspect.Parameter]],
    lists: Callable[[], Mapping[str, str]] = dict,
    name: str | None = None,
) -> None:
    """Add a command that has options made from settings.

    Args:
        app: where to add it.
        function: takes the values of these options as its argument ``settings``; its other
            parameters are options as Typer knows them, and replace those of the same name.
        options: returns the options; called when the command is used.
        lists: returns what the help texts name in braces; called when the help is shown.
        name: of the command; by default the function's.
    """

    class Command(_SettingsCommand):
        complete = staticmethod(lambda: _with_options(function, options()))
        names_for_help = staticmethod(lists)

    app.command(name or function.__name__, cls=Command, help=inspect.getdoc(function))(_no_options)


class _SettingsCommand(TyperCommand):
    """A command that finds its options when it is used or its help is shown."""

    complete: Callable[[], Callable[..., None]]
    names_for_help: Callable[[], Mapping[str, str]]

    @cached_property
    def _completed(self) -> Any:
        app = typer.Typer(add_completion=False)
        app.command()(self.complete())
        return typer.main.get_command(app)

    @property
    def params(self) -> list[Any]:
        """All options and arguments; Typer adds ``--help`` to this list and takes it off again."""
        found: list[Any] = self._completed.params
        return found

    @params.setter
    def params(self, found: list[Any]) -> None:
        """Ignore what Typer found: the options are not there yet."""

    def invoke(self, ctx: Any) -> Any:
        """Call the function with the options' values."""
        return self._completed.invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the help of all options, with the lists as they are now."""
        names = self.names_for_help()
        for param in self.params:
            param.help = param.help and param.help.format_map(names)
        super().format_options(ctx, formatter)


def _no_options() -> None:
    """Stand for the command's function until its options are known; never called."""


def _option(field: Field[Any], hint: Any, unset: bool) -> inspect.Parameter:
    texts = field.metadata
    default = None if unset else field.default
    if "read" in texts:
        hint = str | None if default is None else str
    if isinstance(default, tuple):
        default = "/".join(map(str, default))
    flag = texts.get("flag", "--" + field.name.replace("_", "-"))
    option = typer.Option(
        flag,
        help=texts.get("help"),
        metavar=texts.get("metavar"),
        show_default=texts.get("show_default", True) if not unset else False,
        parser=_parser_of(hint),
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[hint, option],
    )


def _parser_of(hint: Any) -> Callable[[str], Any] | None:
    """Return how numbers of a type are read; None: as Typer reads that type."""
    kinds = {hint, *get_args(hint)} - {type(None)}
    return {int: integer, float: number}.get(kinds.pop()) if len(kinds) == 1 else None


def _with_options(
    function: Callable[..., None], options: list[inspect.Parameter]
) -> Callable[..., None]:
    """Return the function with a parameter per option in place of ``settings``."""
    own = inspect.signature(function, eval_str=True).parameters
    made = [option for option in options if option.name not in own]

    def completed(**values: Any) -> None:
        settings = {option.name: values.pop(option.name) for option in made}
        function(settings=settings, **values)

    parameters = []
    for name, parameter in own.items():
        one = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        parameters += made if name == "settings" else one
    completed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return completed
