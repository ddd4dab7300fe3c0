"""Read YAML text strictly and report all of its mistakes in one error.

PyYAML silently keeps the last of two equal keys; such a file is refused here. Only numbers as
``hpo.space.plain_numbers`` reads them are numbers: YAML would take ``1_6`` for 16, ``010`` for 8
and ``1:30`` for 90; here they stay text, which no number may be. Interprets no other value: callers
collect what is wrong in ``Problems`` and raise it at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import yaml

from core.errors import ConfigError, UnknownNameError
from hpo.space import plain_numbers

_TAG = "tag:yaml.org,2002:"
_REPLACED = {f"{_TAG}{kind}" for kind in ("int", "float", "timestamp")}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with this project's numbers in place of YAML's, and without dates."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        sign: [(tag, rule) for tag, rule in rules if tag not in _REPLACED]
        for sign, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _add_numbers(kind: str, rule: re.Pattern[str], read: Callable[[str], float]) -> None:
    whole_text = re.compile(rf"(?:{rule.pattern})\Z")
    # PyYAML tries a rule only on texts that begin with one of these signs.
    _Loader.add_implicit_resolver(f"{_TAG}{kind}", whole_text, list("-+.0123456789"))

    def construct(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
        return read(str(loader.construct_scalar(node)))

    # Also what is tagged as a number, as in ``!!int 1_6``.
    _Loader.add_constructor(f"{_TAG}{kind}", construct)


_add_numbers("int", plain_numbers.WHOLE, plain_numbers.read_whole)
_add_numbers("float", plain_numbers.DECIMAL, plain_numbers.read_decimal)


class Problems:
    """Collects everything that is wrong with one input, so that its author can fix it in one go."""

    def __init__(self, what: str) -> None:
        """Name the input, e.g. ``search space my.yaml``."""
        self.what = what
        self.lines: list[str] = []

    def add(self, path: str, text: str) -> None:
        """Note ``text`` about the value at ``path``, e.g. ``parameters.alpha1.low``."""
        self.lines.append(f"{path}: {text}" if path else text)

    def raise_any(self) -> None:
        """Raise one ``ConfigError`` with everything noted, if anything was."""
        if len(self.lines) == 1:
            raise ConfigError(f"{self.what}: {self.lines[0]}")
        if self.lines:
            listed = "\n  ".join(self.lines)
            raise ConfigError(f"{self.what} has {len(self.lines)} problems:\n  {listed}")

    def check_keys(
        self, path: str, fields: Mapping[str, object], required: Collection[str], *optional: str
    ) -> None:
        """Note every key of ``fields`` that is unknown, and every required one that is missing."""
        known = {*required, *optional}
        for key in fields:
            if key not in known:
                self.add(path, str(UnknownNameError("key", str(key), known)))
        for key in required:
            if key not in fields:
                self.add(path, f"the key {key!r} is missing; add it")


def load_yaml(text: str, what: str) -> object:
    """Return the plain values of a YAML ``text``.

    Args:
        text: one YAML document.
        what: its name in errors.

    Raises:
        ConfigError: the text is not valid YAML, or a mapping holds the same key twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        problems = Problems(what)
        _note_duplicates(node, problems, set())
        problems.raise_any()
        return None if node is None else loader.construct_document(node)
    except ConfigError:
        raise
    # PyYAML does not wrap the ValueErrors of its scalars, e.g. for ``!!int 1_6``.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{what} must be valid YAML, but {reason}; mend it there") from error


def _note_duplicates(node: yaml.Node | None, problems: Problems, seen: set[int]) -> None:
    if node is None or id(node) in seen:  # an alias refers to a node a second time
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _note_duplicates(item, problems, seen)
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                line = key.start_mark.line + 1
                problems.add(f"line {line}", f"the key {key.value!r} stands twice; keep one")
            elif isinstance(key, yaml.ScalarNode):
                keys.add(key.value)
            _note_duplicates(value, problems, seen)
