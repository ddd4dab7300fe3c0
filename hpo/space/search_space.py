"""Read and check a search space: the settings a sweep varies and the points it tries first.

    method: ord
    parameters:
      alpha1: {type: float, low: 0, high: 1}                # also int; log, step
      batch_size: {type: categorical, choices: [16, 50]}
    first_points:
      - source: where these values come from
        values: {alpha1: 0.593, batch_size: 50}

The project's own files are in ``search_spaces/``, one per method and form. All mistakes of a file
are reported at once. Draws no points; that is done by ``hpo.search.samplers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.errors import ConfigError, UnknownNameError
from core.forms import DEFAULT_FORM
from hpo.space.parameters import (
    NETWORK_PARAMETERS,
    PRUNE,
    PRUNING_PARAMETERS,
    Choices,
    Parameter,
    Setting,
    Value,
    loss_parameters,
    read_parameter,
    read_value,
    training_parameters,
)
from hpo.space.strict_yaml import Problems, load_yaml

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class FirstPoint:
    """A configuration that every search of this space tries before the sampler draws any."""

    source: str
    """Where the values come from, e.g. ``Table 6, PeMSD7``."""
    values: Mapping[str, Value]


@dataclass(frozen=True)
class SearchSpace:
    """The settings that a sweep of one method varies."""

    method: str
    parameters: Mapping[str, Parameter]
    first_points: tuple[FirstPoint, ...]

    @property
    def fingerprint(self) -> str:
        """Hash of everything a search depends on: not comments, order or the points' sources."""
        parameters = {name: value.to_json() for name, value in self.parameters.items()}
        return files.fingerprint([self.method, parameters, self.points()])

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return Optuna's distribution of every parameter.

        Sorted by name: a sampler draws in this order, so the order of a file's lines must not
        change the result of a seed.
        """
        return {name: self.parameters[name].distribution() for name in sorted(self.parameters)}

    def points(self) -> list[dict[str, Value]]:
        """Return the values of the first points, in order."""
        return [dict(point.values) for point in self.first_points]

    def to_json(self) -> dict[str, Any]:
        """Return the contents of a file of this space; ``from_json`` reads it back."""
        return {
            "method": self.method,
            "parameters": {name: value.to_json() for name, value in self.parameters.items()},
            "first_points": [
                {"source": point.source, "values": dict(point.values)}
                for point in self.first_points
            ],
        }

    @classmethod
    def from_json(cls, document: object) -> SearchSpace:
        """Read the output of ``to_json``, or JSON of it, as strictly as a file."""
        return _read(document, Problems("search space"))

    def values_of(self, name: str) -> tuple[Value, ...]:
        """Return the choices of ``name``; none if it is not searched, or is a range."""
        parameter = self.parameters.get(name)
        return parameter.choices if isinstance(parameter, Choices) else ()

    def largest(self, name: str) -> float:
        """Return the largest value that the number ``name`` can take; 0 if it is not searched."""
        return self._end(name, 1)

    def smallest(self, name: str) -> float:
        """Return the smallest value that the number ``name`` can take; 0 if it is not searched."""
        return self._end(name, 0)

    def _end(self, name: str, side: int) -> float:
        end = self.parameters[name].ends[side] if name in self.parameters else 0
        return 0 if isinstance(end, str) else end

    def with_fixed(self, settings: Mapping[str, Value]) -> SearchSpace:
        """Return the same space with some settings fixed at one value (``holding``).

        Args:
            settings: name -> value; numbers may be text. Settings of the method that this space
                does not vary may be fixed too.

        Raises:
            UnknownNameError: the method has no such setting.
            ConfigError: a value lies outside the space.
        """
        known = method_settings(self.method)
        problems = Problems("fixed settings")
        fixed: dict[str, Value] = {}
        for name, raw in settings.items():
            if name not in known:
                raise UnknownNameError("setting", name, known)
            value = read_value(name, raw, known[name], problems)
            if value is not None:
                _check_inside(name, value, self.parameters.get(name), problems)
                fixed[name] = value
        problems.raise_any()
        return self.holding(fixed)

    def holding(self, values: Mapping[str, Value]) -> SearchSpace:
        """Return the same space with settings at one value each, whether it varied them or not.

        The first points take the same values; points that become equal are kept once.
        """
        held = {name: Choices((value,)) for name, value in values.items()}
        points = [replace(point, values={**point.values, **values}) for point in self.first_points]
        return SearchSpace(self.method, {**self.parameters, **held}, without_repeats(points))


def corners(space: SearchSpace) -> list[dict[str, Value]]:
    """Return the configuration of all smallest values and that of all largest.

    Names have no order: both configurations hold the first one.
    """
    ends = {name: parameter.ends for name, parameter in space.parameters.items()}
    return [{name: pair[side] for name, pair in ends.items()} for side in (0, 1)]


def check_method(method: str) -> None:
    """Raise ``UnknownNameError`` unless the method is a loss or ``prune``."""
    from core.distillation.losses import LOSSES  # noqa: PLC0415 - torch is slow to import

    if method not in {*LOSSES, PRUNE}:
        raise UnknownNameError("method", method, [*LOSSES, PRUNE])


def method_settings(method: str) -> dict[str, Setting]:
    """Return every setting of a trial of ``method``.

    Beside the training settings, a loss has its hyperparameters and the student's shape; pruning
    has its own settings and the hyperparameters of all losses.

    Raises:
        UnknownNameError: the method is neither a loss nor ``prune``.
    """
    check_method(method)
    own = PRUNING_PARAMETERS if method == PRUNE else NETWORK_PARAMETERS
    return {**training_parameters(), **own, **loss_parameters(method)}


def built_in_search_space(name: str, form: str = DEFAULT_FORM) -> SearchSpace:
    """Return the project's own search space called ``name``: a method's, or ``widths``.

    Those of the default form lie in ``search_spaces/``, those of others in a folder called as the
    form; a method without one there has the same space in all forms.

    Raises:
        UnknownNameError: there is no space of this name.
    """
    folder = resources.files("search_spaces")
    own = _space_files(folder / form)
    known = {**_space_files(folder), **own}
    if name not in known:
        raise UnknownNameError("search space", name, known)
    place = f"{form}/" if name in own else ""
    return _parse(known[name].read_text(encoding="utf-8"), f"search_spaces/{place}{name}.yaml")


def _space_files(folder: Traversable) -> dict[str, Traversable]:
    files = folder.iterdir() if folder.is_dir() else ()
    return {Path(file.name).stem: file for file in files if file.name.endswith(".yaml")}


def load_search_space(path: Path) -> SearchSpace:
    """Read a search space file.

    Raises:
        ConfigError: the file cannot be read, or breaks rules; the message lists all of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"the search space {path} must be a text file that can be read, but {reason}; "
            "name another with --space"
        ) from error
    return _parse(text, str(path))


def _parse(text: str, source: str) -> SearchSpace:
    problems = Problems(f"search space {source}")
    return _read(load_yaml(text, problems.what), problems)


def _read(document: object, problems: Problems) -> SearchSpace:
    if not isinstance(document, dict):
        raise ConfigError(
            f"{problems.what} must hold the keys method, parameters and first_points, "
            f"got {document!r}"
        )
    problems.check_keys("", document, (), "method", "parameters", "first_points")
    method = document.get("method")
    settings = _read_method(method, problems)
    parameters = _read_parameters(document.get("parameters"), settings, problems)
    points = _read_points(document.get("first_points", []), parameters, settings, problems)
    problems.raise_any()
    checked = {name: parameter for name, parameter in parameters.items() if parameter is not None}
    return SearchSpace(str(method), checked, points)


def _read_method(method: object, problems: Problems) -> dict[str, Setting]:
    if not isinstance(method, str):
        problems.add("method", f"must name a method, got {method!r}; write e.g. method: ord")
        return _settings_of_all_methods()
    try:
        return method_settings(method)
    except UnknownNameError as error:
        problems.add("method", str(error))
        # The rest of the file is still read, so that its mistakes are reported too.
        return _settings_of_all_methods()


def _settings_of_all_methods() -> dict[str, Setting]:
    from core.distillation.losses import LOSSES  # noqa: PLC0415 - torch is slow to import

    methods = [*LOSSES, PRUNE]
    return {name: rule for method in methods for name, rule in method_settings(method).items()}


def _read_parameters(
    raw: object, settings: dict[str, Setting], problems: Problems
) -> dict[str, Parameter | None]:
    if not isinstance(raw, dict) or not raw:
        problems.add("parameters", f"must map at least one setting to its range, got {raw!r}")
        return {}
    parameters: dict[str, Parameter | None] = {}
    for name, fields_of_one in raw.items():
        path = f"parameters.{name}"
        parameters[str(name)] = None
        if name in settings:
            parameters[name] = read_parameter(path, fields_of_one, settings[name], problems)
        else:
            problems.add(path, str(UnknownNameError("setting", str(name), settings)))
    return parameters


def _read_points(
    raw: object,
    parameters: dict[str, Parameter | None],
    settings: dict[str, Setting],
    problems: Problems,
) -> tuple[FirstPoint, ...]:
    if not isinstance(raw, list):
        problems.add("first_points", f"must be a list, got {raw!r}")
        return ()
    points = []
    for index, item in enumerate(raw):
        path = f"first_points.{index}"
        if not isinstance(item, dict) or not isinstance(item.get("values"), dict):
            problems.add(path, "must be a mapping with the keys source and values (a mapping)")
            continue
        problems.check_keys(path, item, ("source", "values"))
        if "source" in item and (not isinstance(item["source"], str) or not item["source"].strip()):
            problems.add(f"{path}.source", f"must say where it comes from, got {item['source']!r}")
        values = _read_values(f"{path}.values", item["values"], parameters, settings, problems)
        points.append(FirstPoint(str(item.get("source")), values))
    if len(without_repeats(points)) < len(points):
        problems.add("first_points", "two of them hold the same values; keep one")
    return tuple(points)


def _read_values(
    path: str,
    raw: dict[str, object],
    parameters: dict[str, Parameter | None],
    settings: dict[str, Setting],
    problems: Problems,
) -> dict[str, Value]:
    problems.check_keys(path, raw, list(parameters))
    values: dict[str, Value] = {}
    for name in (name for name in parameters if name in raw and name in settings):
        value = read_value(f"{path}.{name}", raw[name], settings[name], problems)
        if value is not None:
            _check_inside(f"{path}.{name}", value, parameters[name], problems)
            values[name] = value
    return values


def _check_inside(path: str, value: Value, parameter: Parameter | None, problems: Problems) -> None:
    if parameter is not None and not parameter.contains(value):
        problems.add(path, f"must be {parameter.rule}, got {value!r}")


def without_repeats(points: list[FirstPoint]) -> tuple[FirstPoint, ...]:
    """Return the points without those that repeat the values of an earlier one."""
    kept: list[FirstPoint] = []
    for point in points:
        if point.values not in [other.values for other in kept]:
            kept.append(point)
    return tuple(kept)
